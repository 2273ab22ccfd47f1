"""The name catalogue (`catalogue.yaml`) and what follows from it: canonical series and recording rules.

Start at `model.py`; `mapping.py` makes the canonical series of one body.
"""
