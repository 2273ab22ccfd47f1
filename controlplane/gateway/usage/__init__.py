"""Usage records: the journal on the gateway's disk, and its way to the control plane.

Start at `journal.py`, which a worker appends to. `lines.py` is the format of its files, `segments.py` reads them in the
supervisor, `batch.py` sums them by the minute, `shipper.py` sends the sums.
"""
