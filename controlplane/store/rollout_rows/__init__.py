"""Rows that belong to rollouts: operators' wishes, findings of works, and quarantined versions."""
