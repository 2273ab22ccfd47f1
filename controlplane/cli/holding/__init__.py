"""The verbs about silences and acknowledgements. They use the control plane's HTTP API."""
