"""The last good desired state, on the gateway's disk."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson

from controlplane.gateway.desired.codec import MAX_BYTES, decode, encode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired, GatewayError
from controlplane.whole_file import write_whole

DESIRED = "desired.json"
SHARES = "shares.json"
"""This gateway's shares of limits. They change each second, and the desired state may have 64 MB."""

log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """A desired state from the disk, and its age in seconds."""

    desired: Desired
    age_s: float


class LastGood:
    """The last good desired state, on disk. A write is whole or did not happen, also in a power cut. Blocking."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DESIRED
        self._shares = folder / SHARES

    def read(self) -> Kept | None:
        """Return the stored state with the shares that were stored last, or None when there is none.

        Raises BadDesired, which names the file and the cure.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
                age_s = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
            desired = decode(data)
            shares = self._read_shares()
            return Kept(desired if shares is None else replace(desired, shares=shares), age_s)
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

    def write_shares(self, shares: Mapping[str, float]) -> None:
        """Store the shares alone. Raises GatewayError when the disk does not take them; the former ones stay then."""
        try:
            write_whole(self._shares, orjson.dumps(dict(shares)))
        except OSError as error:
            raise GatewayError(f"{self._shares} cannot be written: {error.strerror}") from error

    def _read_shares(self) -> dict[str, float] | None:
        """Return the stored shares. None: those of the desired state count."""
        try:
            found = {str(limit): float(share) for limit, share in orjson.loads(self._shares.read_bytes()).items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.error("%s cannot be read (%s); the shares of the last desired state count", self._shares, error)
            return None
        return {limit: min(1.0, max(0.0, share)) for limit, share in found.items() if math.isfinite(share)}
