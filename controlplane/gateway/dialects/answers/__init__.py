"""Reading of engines' answers while they pass: usage, errors, the proper end. Start at `readers.py`."""
