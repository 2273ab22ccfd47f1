"""Samples, and what there is of them, for other programs: each call as the bytes of an answer's body."""
