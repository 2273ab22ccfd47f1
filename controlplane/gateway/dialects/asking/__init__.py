"""The request: the fields that are read, and the body that the engine gets. Start at `ask.py`."""
