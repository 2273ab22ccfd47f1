"""Requests as a client would send them, counted as a source of its own.

Start at `source.py`. `dialects.py` chooses the protocol, of which each family has a module; `question.py` holds what is
asked and expected, `misfit.py` the words for a question that does not fit, and `tally.py` the counts.
"""
