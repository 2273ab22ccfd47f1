"""PromQL, evaluated over all series and steps at once.

Start at `engine.py`. `syntax/` makes the tree, `evaluation/` walks it, `functions/` has the functions of PromQL.
"""
