"""Making snapshots: files are read by a few lanes, each with a buffer for a chunk and a buffer for a pack."""
