"""The base of a LoRA adapter: which model the adapter changes, and the digest of that model where it is found here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from controlplane.backup.content.facts import ADAPTER, WORDS, document
from controlplane.backup.content.files import ContentFile
from controlplane.backup.content.origin import cached_repository
from controlplane.backup.errors import BackupError

_HUB_NAME: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_REVISION: Final = re.compile(r"[\w./-]{1,200}")


def base_of(
    root: Path, files: Sequence[ContentFile], environment: Mapping[str, str], digest: Callable[[Path], str]
) -> dict[str, str]:
    """Return `base`, and `base_digest` or `base_unknown`: why the base's digest is not known. Empty: no adapter.

    `adapter_config.json` names a path, or a repository of the Hugging Face Hub. A repository is looked for in the cache
    that the adapter lies in, and in that of `environment`.
    """
    config = document(files, ADAPTER)
    named = config.get("base_model_name_or_path")
    if not config:
        return {}
    if not isinstance(named, str) or not named.strip():
        return {"base": "", "base_unknown": f"{ADAPTER} names no base model"}
    base = {"base": named[:WORDS]}
    found, why = _folder(root, named, config, environment)
    if found is None:
        return {**base, "base_unknown": why}
    try:
        return {**base, "base_digest": digest(found)}
    except (BackupError, OSError) as error:
        return {**base, "base_unknown": f"{found} cannot be read: {error}"[: 2 * WORDS]}


def _folder(
    root: Path, named: str, config: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Path | None, str]:
    """Return the folder of the base, or None and why it is not known."""
    if "\0" in named:
        return None, "its name is no path and no repository"
    given = Path(named)
    if given.is_absolute():
        return (given, "") if given.is_dir() else (None, f"there is no folder {named} on this machine")
    if (root / given).is_dir() and named.startswith("."):
        return (root / given).resolve(), ""
    if not _HUB_NAME.fullmatch(named):
        return None, f"{named[:WORDS]} is no absolute path and no repository of the Hugging Face Hub"
    revision = config.get("revision")
    wanted = revision if isinstance(revision, str) and _REVISION.fullmatch(revision) else "main"
    caches = list(_caches(root, environment))
    for cache in caches:
        if (snapshot := _cached(cache, named, wanted)) is not None:
            return snapshot, ""
    looked = ", ".join(map(str, caches)) or "no cache is known"
    return None, f"{named} at {wanted} is in no Hugging Face cache of this machine ({looked})"


def _caches(root: Path, environment: Mapping[str, str]) -> Sequence[Path]:
    """Return the caches of the Hugging Face Hub: the adapter's own, and the one that huggingface_hub would use."""
    found = []
    own = cached_repository(root)
    if own is not None:
        found.append(own[0])
    if hub := environment.get("HF_HUB_CACHE"):
        found.append(Path(hub))
    elif home := environment.get("HF_HOME"):
        found.append(Path(home) / "hub")
    elif caches := environment.get("XDG_CACHE_HOME"):
        found.append(Path(caches) / "huggingface" / "hub")
    elif user := environment.get("HOME"):
        found.append(Path(user) / ".cache" / "huggingface" / "hub")
    return list(dict.fromkeys(found))


def _cached(cache: Path, repository: str, revision: str) -> Path | None:
    """Return the snapshot folder of a repository in a cache, or None."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    commit = revision
    try:
        with (folder / "refs" / revision).open("rb") as file:
            commit = file.read(200).decode("ascii", "replace").strip()
    except OSError:
        pass  # the revision may be a commit itself
    if not commit or "/" in commit or commit.startswith("."):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None
