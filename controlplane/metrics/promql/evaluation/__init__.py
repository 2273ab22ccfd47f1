"""Evaluation of a syntax tree: selectors, operators, aggregations.

Start at `evaluate.py`.
"""
