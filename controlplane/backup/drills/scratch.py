"""The scratch folder of drills: what a drill puts there is gone after it, also when the drill before was killed.

A drill writes into a folder `.drill-…` of its own. For an engine it puts links to models beside it, which point into
that folder. Nothing else in the scratch folder is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from controlplane.backup.engines.models import RestoredModel
from controlplane.backup.errors import BackupError
from controlplane.backup.folder_lock import locked
from controlplane.backup.reading.swap import remove

DRILL: Final = ".drill-"
"""Beginning of the name of a drill's folder."""

ATTEMPTS: Final = 5


@contextmanager
def drill_folder(base: Path, *, shared: bool) -> Iterator[Path]:
    """Yield a new folder in the scratch folder `base`, and delete it after the block.

    `shared`: other users may look into it, such as that of an engine. `base` is made when it is missing. Raises
    BackupError.
    """
    with ExitStack() as stack:
        folder = _made(base, stack)
        try:
            folder.chmod(0o755 if shared else 0o700)
            yield folder
        finally:
            remove(folder)


def _made(base: Path, stack: ExitStack) -> Path:
    """Make a folder and lock it for as long as the stack lasts."""
    for _ in range(ATTEMPTS):
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(mkdtemp(prefix=DRILL, dir=base))
        except OSError as error:
            raise BackupError(f"no folder for a drill can be made in {base}: {error.strerror}") from None
        with suppress(FileNotFoundError, BlockingIOError):  # another drill tidied it before it was locked
            stack.enter_context(locked(folder))
            if folder.exists():
                return folder
    raise BackupError(f"other drills use the scratch folder {base} all the time: give each a folder of its own")


def tidy(base: Path) -> None:
    """Delete the folders that drills left in `base` when they were killed. Their links to models stay.

    Raises BackupError when that is not possible.
    """
    for folder in base.glob(f"{DRILL}*"):
        with suppress(BlockingIOError, FileNotFoundError, NotADirectoryError), locked(folder):
            remove(folder)


def stale_links(base: Path) -> list[str]:
    """Return the names of links to models whose drill was killed and tidied: an engine may still have them loaded.

    Raises BackupError when `base` cannot be read.
    """
    try:
        found = [path for path in base.iterdir() if path.is_symlink()]
        return sorted(path.name for path in found if _is_of_a_drill(path) and not path.exists())
    except OSError as error:
        raise BackupError(f"the scratch folder {base} cannot be read: {error.strerror}") from None


def drop_links(base: Path, names: Sequence[str]) -> None:
    """Delete links of `stale_links`. Raises BackupError when that is not possible."""
    try:
        for name in names:
            (base / name).unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"the scratch folder {base} cannot be tidied: {error.strerror}") from None


@contextmanager
def links(base: Path, models: Sequence[RestoredModel]) -> Iterator[list[RestoredModel]]:
    """Put a link to each model into `base`, where an engine finds it, and delete the links after the block.

    Yields the models with the folders that the links name. Raises BackupError when a name is taken.
    """
    made: list[Path] = []
    try:
        for model in models:
            link = base / model.name
            try:
                link.symlink_to(os.path.relpath(model.folder, base))
            except FileExistsError:
                raise BackupError(
                    f"{link} exists, and a drill changes nothing that it has not made: give drills a scratch folder of"
                    " their own"
                ) from None
            except OSError as error:
                raise BackupError(f"{link} cannot be made: {error.strerror}") from None
            made.append(link)
        yield list(models)
    finally:
        for link in made:
            link.unlink(missing_ok=True)


def _is_of_a_drill(link: Path) -> bool:
    return link.readlink().parts[:1] != () and link.readlink().parts[0].startswith(DRILL)
