"""What can be wrong with a fleet.yaml beyond its own words: its rules, targets, secrets, and who is told."""
