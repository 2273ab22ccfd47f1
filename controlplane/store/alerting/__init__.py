"""Rows that other programs cause, such as their alerts and their heartbeats, and what became of notifications."""
