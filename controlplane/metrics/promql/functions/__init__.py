"""The functions of PromQL, one module for each kind.

Start at `registry.py`, the table of all functions.
"""
