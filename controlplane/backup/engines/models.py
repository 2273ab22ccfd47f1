"""The models of a restored folder, as Triton finds them: a folder of versions for each model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.backup.errors import BackupError

CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class RestoredModel:
    """One model of a Triton repository on this machine's disk."""

    name: str
    folder: Path
    must_serve: int | None = None
    """Version that was restored alone, and has to be served. None: the versions that its configuration chooses."""

    def versions(self) -> list[int]:
        """Return the numbers of its version folders, the lowest first. Raises BackupError when they cannot be read."""
        try:
            return sorted(int(path.name) for path in self.folder.iterdir() if is_version(path.name) and path.is_dir())
        except OSError as error:
            raise BackupError(f"{self.folder} cannot be read: {error.strerror}") from None


def is_version(name: str) -> bool:
    """Return whether a folder's name is the number of a version. Triton stores it as int64."""
    return name.isascii() and name.isdigit() and len(name) <= 18


def models_in(paths: Iterable[str], root: Path) -> list[RestoredModel]:
    """Return the models of a folder `root` whose tree has these paths: `/` between names, `.` for the folder itself.

    The folder is a repository of models, or one model, or one version of one. Raises BackupError when it is none.
    """
    parts = [path.split("/") for path in paths if path != "."]
    if any(_marks_model(part[0]) for part in parts):
        return [RestoredModel(root.name, root)]
    names = sorted({part[0] for part in parts if len(part) > 1 and _marks_model(part[1])})
    if names:
        return [RestoredModel(name, root / name) for name in names]
    if is_version(root.name) and parts:
        return [RestoredModel(root.parent.name, root.parent, int(root.name))]
    raise BackupError(
        f"the snapshot has no model that Triton can load: a folder NAME with {CONFIG} or with a version folder such as"
        " NAME/1"
    )


def _marks_model(name: str) -> bool:
    return name == CONFIG or is_version(name)


def expected_versions(model: RestoredModel, policy: Mapping[str, Any] | None) -> list[int]:
    """Return the versions that Triton has to serve by the `version_policy` of the model's configuration.

    Without a policy Triton serves the highest version.
    """
    there = model.versions()
    policy = policy or {}
    if isinstance(named := policy.get("specific"), dict):
        wanted = {int(version) for version in named.get("versions", ())}
        return [version for version in there if version in wanted]
    if "all" in policy:
        return there
    latest = policy.get("latest")
    count = int(latest.get("num_versions", 1)) if isinstance(latest, dict) else 1
    return there[-max(1, count) :]
