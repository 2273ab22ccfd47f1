"""What people and other programs tell of alerts: received alerts, silences, acknowledgements, heartbeats."""
