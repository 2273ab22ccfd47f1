"""The console's pages of alerting: alerts, silences, rules, notifications and runbooks."""
