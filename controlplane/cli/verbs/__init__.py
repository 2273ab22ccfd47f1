"""The verbs as data: names, options, help and examples. Their functions are elsewhere in `controlplane.cli`.

Start at `tree.py`. `grammar.py` parses a command line.
"""
