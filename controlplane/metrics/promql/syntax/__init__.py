"""The syntax tree of an expression, and the facts that follow from it without data.

Start at `tree.py`.
"""
