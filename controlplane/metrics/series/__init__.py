"""The series store: the table of series, the places of their samples, and the code that reads many series at once.

Start at `series_store.py` (writing) and `store_reader.py` (reading: `index.py`, then `plan.py`, then `gather.py`).
"""
