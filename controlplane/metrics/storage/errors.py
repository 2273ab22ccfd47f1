"""Errors of the durable part of the series store.

StorageError            root; a ControlPlaneError
├── StorageLocked       another process has this folder open
├── Overtaken           who follows a journal missed that it was rewritten, more than once
└── CorruptData         stored bytes are not what was written: named with file and place, and left out
"""

from __future__ import annotations

from controlplane.errors import ControlPlaneError


class StorageError(ControlPlaneError):
    """Root of what the durable series store raises."""


class StorageLocked(StorageError):
    """Another process has this folder open."""


class Overtaken(StorageError):
    """Who follows a journal missed that it was rewritten, more than once: it must begin anew."""


class CorruptData(StorageError):
    """Stored bytes are not what was written."""
