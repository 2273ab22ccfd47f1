"""The pages of operations: the gateway, cost and usage, keys, backups, access, the audit trail, and the control plane.

Start at `routes.py`.
"""
