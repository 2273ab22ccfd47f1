"""The grammar of PromQL of Prometheus 3: text to the tree of the parser, or to an error with its place.

Start at `parser.py`; `dialect.py` has what the parser itself does not know.
"""
