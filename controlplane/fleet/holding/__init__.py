"""Silences and acknowledgements for people: what may be asked for, what it does now, and how it is shown.

Start at `desk.py`. API, console and Slack use it.
"""
