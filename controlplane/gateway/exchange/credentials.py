"""The gateway's credentials at engines, read from files and variables of its machine."""

from __future__ import annotations

import base64
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from controlplane.gateway.desired.document import CredentialsSpec

LOOK_AGAIN_S = 5.0
"""How often a file is looked at, in seconds. Mounted secrets change at most once a minute."""
MAX_BYTES = 64 * 2**10

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    line: bytes | None
    stamp: tuple[int, int, int] | None
    looked: float
    fault: str = ""
    """Why the file cannot be read, as it was logged."""


class Credentials:
    """Lines of `Authorization` by specification. A changed file is read again; while it cannot be read, the last
    good value stays."""

    def __init__(self) -> None:
        self._kept: dict[CredentialsSpec, _Kept] = {}

    def line(self, spec: CredentialsSpec, now: float) -> bytes | None:
        """Return the header line, or None when the secret was never readable."""
        kept = self._kept.get(spec)
        if kept is None:
            kept = self._kept[spec] = _Kept(None, None, float("-inf"))
        if now - kept.looked >= LOOK_AGAIN_S:
            kept.looked = now
            self._look(spec, kept)
        return kept.line

    @staticmethod
    def _look(spec: CredentialsSpec, kept: _Kept) -> None:
        if not spec.file:
            kept.line = _line(spec, os.environ.get(spec.env, ""))
            return
        fault = ""
        try:
            status = Path(spec.file).stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if stamp == kept.stamp:
                return
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                fault = "it is no file of at most 64 KB"
            elif (line := _line(spec, Path(spec.file).read_text(encoding="utf-8"))) is None:
                fault = "it holds no single line of text"
            else:
                kept.line, kept.stamp = line, stamp
        except OSError as error:
            fault = error.strerror or type(error).__name__
        except UnicodeDecodeError:
            fault = "it is not UTF-8 text"
        if fault and fault != kept.fault:
            log.warning("the credentials file %s cannot be read: %s", spec.file, fault)
        kept.fault = fault


def _line(spec: CredentialsSpec, secret: str) -> bytes | None:
    secret = secret.strip()
    if not secret or not secret.isprintable():
        return None
    if spec.username:
        pair = base64.b64encode(f"{spec.username}:{secret}".encode()).decode()
        return f"authorization: Basic {pair}\r\n".encode()
    return f"authorization: {spec.scheme} {secret}\r\n".encode()
