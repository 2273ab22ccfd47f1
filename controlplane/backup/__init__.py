"""Backups: a content-addressed repository of sealed packs, and what reads from it and writes to it.

`format/` is bytes only: ids, sealing, packs, the index, snapshots. `keys/` holds key files and wrapped data keys.
`storage/` moves whole objects to and from a folder or an object store. `repository.py` joins them. `sources/` reads
trees of files and cuts them, `writing/` makes snapshots, `reading/` restores and verifies, `pruning/` deletes.
`engines/` lets an engine load what was restored, and `drills/` tries restores in a scratch folder.

Start reading at `docs/backup-format.md`, then `repository.py`.
"""
