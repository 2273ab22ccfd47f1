"""Screens of the terminal that stay and are drawn again."""
