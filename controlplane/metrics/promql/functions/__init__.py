"""The functions of PromQL, one module a kind.

Start at `registry.py`, the table of all of them.
"""
