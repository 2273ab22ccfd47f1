"""Files of other programs that are replaced whole: a crash leaves the old file or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes, new_mode: int = 0o644) -> None:
    """Replace a file in one step. Mode and owner stay; a link stays a link. Blocking. Raises OSError.

    `new_mode` is the mode of a file that did not exist. No other file stays in the folder, also after a fault.
    """
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            before = path.stat()
            with suppress(PermissionError):  # only root may give a file away; the mode still is the old one
                os.chown(temporary, before.st_uid, before.st_gid)
            temporary.chmod(before.st_mode & 0o7777)
        else:
            temporary.chmod(new_mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
