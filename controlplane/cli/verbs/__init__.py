"""The verbs as data: names, options, help and examples; nothing here runs.

Start at `tree.py`; `grammar.py` reads a command line by it.
"""
