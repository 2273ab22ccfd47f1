"""Routes around alerts, and metrics of them: heartbeats of other programs, rotas, notifications."""
