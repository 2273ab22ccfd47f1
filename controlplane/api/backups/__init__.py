"""Routes and metrics about the backups that the control plane makes."""
