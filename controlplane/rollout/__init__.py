"""One attempt to move a model from its stable version to a candidate.

Start at `decide.py` (pure: an observation to a decision) and `engine.py` (the loop that runs it). `service.py` accepts
the requests of operators.
"""
