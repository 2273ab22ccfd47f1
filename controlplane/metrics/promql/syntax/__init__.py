"""The syntax tree of an expression, and what can be told from it without data.

Start at `tree.py`.
"""
