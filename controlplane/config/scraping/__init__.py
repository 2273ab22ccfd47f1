"""`targets:` of fleet.yaml. `targets.py` has the groups; start there."""
