"""Exports of samples and of statistics for other programs. Each call returns the body of an answer."""
