"""Routes around alerts: heartbeats of other programs."""
