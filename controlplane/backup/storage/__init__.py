"""Whole objects in a folder or an object store: put, read a range, list, delete."""
