"""The series store: which series there are, where their samples lie, and how many are read at once.

Start at `series_store.py` (writing) and `store_reader.py` (reading: `index.py`, then `plan.py`, then `gather.py`).
"""
