"""`fleet.yaml` and the contexts of the command line: their fields, their readers, and faults with file and line.

Start at `model.py` (the fields), then `reading.py` (one field at a time) and `wording.py` (the sentences).
"""
