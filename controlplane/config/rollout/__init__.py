"""`models[].rollout:` and `rollouts:` of fleet.yaml. Start reading at section.py."""
