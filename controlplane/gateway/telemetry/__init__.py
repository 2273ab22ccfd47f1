"""The gateway's metrics in memory that its workers share, and traces.

Start at `recorder.py`: what a worker counts, on the series of `series.py`. `region.py` is the memory, `meters.py` the
cells in it, `exposition.py` the sum over all workers, `families.py` the names.
"""
