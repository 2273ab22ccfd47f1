"""The last good desired state, on the gateway's disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from controlplane.gateway.desired.codec import MAX_BYTES, decode, encode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired, GatewayError
from controlplane.gateway.whole_file import write_whole

DESIRED = "desired.json"


class Kept(NamedTuple):
    """A desired state from the disk, and its age in seconds."""

    desired: Desired
    age_s: float


class LastGood:
    """The last good desired state, on disk. A write is whole or did not happen, also in a power cut. Blocking."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DESIRED

    def read(self) -> Kept | None:
        """Return the stored state, or None when there is none. Raises BadDesired, which names the file and the cure."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
                age_s = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
            return Kept(decode(data), age_s)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadDesired(f"{self.path}: {error.strerror}") from error
        except BadDesired as error:
            raise BadDesired(f"{self.path}: {error}; delete the file if the control plane can be reached") from error

    def write(self, desired: Desired) -> None:
        """Store a state. Raises GatewayError when the disk does not take it; the former state stays then."""
        try:
            write_whole(self.path, encode(desired))
        except OSError as error:
            raise GatewayError(f"{self.path} cannot be written: {error.strerror}") from error
