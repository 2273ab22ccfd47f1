"""Verbs about rollouts: start one, follow one, steer one, and versions in quarantine. They speak HTTP only."""
