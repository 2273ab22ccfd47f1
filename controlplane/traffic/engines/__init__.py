"""The servers of versions: readiness, and answers to questions. Start at `engine.py`."""
