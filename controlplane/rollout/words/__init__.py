"""Words of rollouts: what a step does, and what is told of it."""
