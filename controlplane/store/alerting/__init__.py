"""Rows that other programs cause: their alerts and their heartbeats."""
