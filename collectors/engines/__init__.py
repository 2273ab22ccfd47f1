"""The kinds of servers that can be targets, and what their own APIs say.

Start at `kinds.py`.
"""
