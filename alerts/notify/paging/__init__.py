"""On-call services: PagerDuty and Opsgenie. A group of alerts is one incident there."""
