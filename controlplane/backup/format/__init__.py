"""Format 1 of the repository, as bytes: no file and no network is touched here. `docs/backup-format.md` is its text."""
