"""Routes about rollouts: list and show, start and steer, and versions in quarantine."""
