"""Faults in engines' logs: lines are read where they are written, and those that tell an event are counted."""
