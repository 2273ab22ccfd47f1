"""The verbs `backup …`. They open the repository themselves and need no control plane."""
