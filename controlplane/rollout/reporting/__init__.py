"""Reports on a rollout for people: where it stands, and what follows when it failed. Pure."""
