"""The way from an alert to a person: `route.py` has routes and notifiers, `explanations.py` says why; start there."""
