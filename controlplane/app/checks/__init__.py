"""Checks of a fleet.yaml beyond its syntax: rules, targets, secrets, folders and routing."""
