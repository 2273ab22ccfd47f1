"""Files of other programs that are replaced whole: a crash leaves the old file or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes, new_mode: int = 0o644) -> None:
    """Replace a file in one step. Mode and group stay, and the owner where this process may set it.

    A link stays a link. Blocking. Raises OSError, and then the old file is still there: also where the group of the old
    file cannot be set.

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
            if temporary.stat().st_gid != before.st_gid:
                os.chown(temporary, -1, before.st_gid)  # other programs read the file by its group
            with suppress(PermissionError):  # only root may give a file away
                os.chown(temporary, before.st_uid, -1)
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
