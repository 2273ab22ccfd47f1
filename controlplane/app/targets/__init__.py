"""The targets of a fleet.yaml: the plan of what is scraped, the source of each target, and what is remembered of it."""
