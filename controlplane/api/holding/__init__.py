"""Silences and acknowledgements over HTTP."""
