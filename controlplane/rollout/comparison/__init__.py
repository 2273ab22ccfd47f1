"""Comparison of a candidate with the stable version by the numbers of both: statistics, without I/O.

Start at `evidence.py`, which adds a look to the evidence. `betting.py` is the test. It reads counts (`tally.py`) and
their scores (`scores.py`). `scatter.py` measures how much looks differ without a fault, and `effect.py` the size of a
difference. `judging.py` turns evidence into an outcome and a sentence. docs/verdicts.md explains the method.
"""
