"""The command line. Verbs speak HTTP only, but for those that must work without a control plane.

Start at `verbs/tree.py` (the verbs as data) and `main.py`.
"""
