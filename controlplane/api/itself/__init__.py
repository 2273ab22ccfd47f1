"""Routes about the control plane itself: its health, its browser sessions, and its configuration on disk."""
