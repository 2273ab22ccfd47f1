"""The APIs that clients speak: paths, fields of bodies, events of answers, refusals in each API's own shape.

Start at `dialects.py`, the face of the package. `routes.py` has every path, `asking/` reads requests, `answers/` reads
answers. Nothing here does I/O.
"""
