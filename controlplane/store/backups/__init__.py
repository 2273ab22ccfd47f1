"""Runs of backups, and the mark of a restored database."""
