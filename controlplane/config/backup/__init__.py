"""The section `backup` of fleet.yaml: the backups that the control plane makes by the calendar."""
