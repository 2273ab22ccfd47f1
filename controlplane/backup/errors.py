"""Errors of backups.

BackupError                the message is fit for an operator: names the thing, the place and the cure
├── NotARepository         there is no repository at the address, or its header cannot be read
├── RepositoryExists       `backup init` found a repository at the address
├── NewerFormat            an object was written in a format that this release does not know
├── WrongKey               no key file at hand opens the repository, or it lacks a data key
├── KeysBusy               another process changes the keys of the repository
├── Damaged                bytes of the repository that are not what was written
│   └── UnknownEpoch       an object needs a data key that was not there when the repository was opened
├── SourceMoving           files that changed while they were read, also after retries
├── SourceIncomplete       a model whose own index names files that are missing
├── NoSpace                the target of a restore, or the repository, is full
├── StoreUnreachable       the folder or object store does not answer, or refuses
├── NotLoaded              an engine did not load what was restored
└── PacksGone              another process deleted packs that this run wanted to use; a second run succeeds
"""

from __future__ import annotations

from controlplane.errors import ControlPlaneError


class BackupError(ControlPlaneError):
    """Root of the errors of backups."""


class NotARepository(BackupError):
    """There is no readable repository at the address."""


class RepositoryExists(BackupError):
    """There is a repository at the address already."""


class NewerFormat(BackupError):
    """An object has a format version that this release does not know."""


class WrongKey(BackupError):
    """No key file at hand opens the repository, or the key file lacks a data key."""


class KeysBusy(BackupError):
    """Another process changes the keys of the repository."""


class Damaged(BackupError):
    """Bytes of the repository are not what was written."""

    def __init__(self, place: str, fault: str) -> None:
        super().__init__(f"{place} is damaged: {fault}")
        self.place, self.fault = place, fault


class UnknownEpoch(Damaged):
    """An object needs a data key that was not there when the repository was opened. The keys may have been rotated."""


class SourceMoving(BackupError):
    """Files changed while they were read."""


class SourceIncomplete(BackupError):
    """Files that the model's own index names are missing."""


class NoSpace(BackupError):
    """There is not enough free space."""


class StoreUnreachable(BackupError):
    """The folder or object store does not answer, or refuses."""


class NotLoaded(BackupError):
    """An engine did not load what was restored."""

    def __init__(self, message: str, *, hangs: bool = False) -> None:
        super().__init__(message)
        self.hangs = hangs
        """Whether the engine took the order and did not answer it: further orders may have to wait for this one."""


class PacksGone(BackupError):
    """Another process deleted packs that this run wanted to use."""
