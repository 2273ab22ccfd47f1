"""Errors of the files of the series store.

StorageError            root; a ControlPlaneError
├── StorageLocked       another process has this folder open
├── Overtaken           a follower missed that the journal was rewritten more than once
└── CorruptData         stored bytes are damaged: named with file and place, and left out
"""

from __future__ import annotations

from controlplane.errors import ControlPlaneError


class StorageError(ControlPlaneError):
    """Root of the errors of the series store's files."""


class StorageLocked(StorageError):
    """Another process has this folder open."""


class Overtaken(StorageError):
    """A follower missed that the journal was rewritten more than once. It must start again with the newest journal."""


class CorruptData(StorageError):
    """Stored bytes are damaged: they differ from the bytes that were written."""
