"""Workers of rollouts: the slow work that steps ask for. rollout/workers.py has their contract."""
