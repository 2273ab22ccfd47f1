"""Schemas of the kinds: how their lists merge, what is filled in, what is refused."""
