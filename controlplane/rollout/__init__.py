"""One attempt to move a model from its stable version to a candidate.

Start at `decide.py` (pure: an observation to a step) and `engine.py` (what runs it); `service.py` takes orders.
"""
