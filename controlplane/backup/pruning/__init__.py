"""Deleting: which snapshots go, and how the packs that nothing needs any more are deleted beside running writers."""
