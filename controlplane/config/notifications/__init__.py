"""Sections of fleet.yaml about the way from an alert to a person. `routes.py` has the routes; start there."""
