"""Names that a fleet.yaml has for engines and models."""
