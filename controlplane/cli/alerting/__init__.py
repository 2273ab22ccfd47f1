"""Verbs about rules and routes of alerts. They read files, and run without a control plane."""
