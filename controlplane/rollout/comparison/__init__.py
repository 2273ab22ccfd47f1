"""Comparison of a candidate with the stable version by the numbers of both: statistics, without I/O.

Start at `evidence.py`: what a look adds to the evidence. `betting.py` is the test itself, `tally.py` the counts that it
reads, `scores.py` makes ranks of them, `scatter.py` measures by how much looks differ for other reasons, `effect.py` is
the size of a difference, and `judging.py` makes a result of all. docs/verdicts.md explains the method.
"""
