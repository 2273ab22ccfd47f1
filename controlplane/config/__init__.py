"""`fleet.yaml` and the contexts of the command line: their fields, how they are read, and faults with file and line.

Start at `model.py` (the fields), then `reading.py` (one field at a time) and `wording.py` (the sentences).
"""
