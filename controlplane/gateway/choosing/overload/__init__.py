"""Overload: who waits in which order, and who is shed."""
