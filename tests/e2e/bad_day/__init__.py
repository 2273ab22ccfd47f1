"""A seeded fleet that has seen a bad day: a real control plane over fake engines, with a day of history."""
