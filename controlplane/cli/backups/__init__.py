"""The verbs `backup …`. They open the repository themselves and work without a control plane."""
