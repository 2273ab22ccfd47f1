"""The supervisor's side of the shared memory: limits, metrics, and what dead workers held."""
