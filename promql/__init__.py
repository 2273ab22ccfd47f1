"""The grammar of PromQL of Prometheus 3: text to a tree with places, or to an error with its place.

Start at `parser.py`; `syntax.py` has the grammar, `nodes.py` the tree.
"""
