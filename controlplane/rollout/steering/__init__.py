"""Operators' requests for rollouts: which one is possible now, and what it changes."""
