"""The places of the fleet's versions in the folder of a backup job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.config.backup.section import BackupJobSection
from controlplane.config.backup.versions import version_paths
from controlplane.config.models import ModelSection
from controlplane.config.schedules import ScheduleSection


def job(folder: str | None) -> BackupJobSection:
    daily = ScheduleSection(cron="@daily")
    if folder is None:
        return BackupJobSection(name="plane", control_plane=True, schedule=daily)
    return BackupJobSection(name="models", folder=Path(folder), schedule=daily)


def model(name: str, *repositories: str | None, **traffic: Any) -> ModelSection:
    backends = [
        {"url": f"http://t{at}:8000", **({"repository": folder} if folder else {})}
        for at, folder in enumerate(repositories)
    ]
    given = {"driver": "triton", "backends": backends, **traffic}
    return ModelSection.model_validate(
        {"name": name, "stable": "v1", "versions": {"v1": {}, "v2": {}}, "traffic": given}
    )


LOCAL = model("chat", "/srv/models")


@pytest.mark.parametrize(
    ("folder", "models", "paths"),
    [
        ("/srv/models", [LOCAL], ("chat/1", "chat/2")),
        ("/srv", [LOCAL], ("models/chat/1", "models/chat/2")),
        ("/srv/models/chat", [LOCAL], ("1", "2")),
        ("/srv/models/chat/1", [LOCAL], ()),
        ("/other", [LOCAL], ()),
        ("/other", [model("chat", None)], ("chat/1", "chat/2")),
        ("/srv/models", [model("chat", "/srv/models", "/srv/models", model="llama")], ("llama/1", "llama/2")),
        ("/srv/models", [LOCAL, model("rag", "/srv/models")], ("chat/1", "chat/2", "rag/1", "rag/2")),
        (None, [LOCAL], ()),
    ],
)
def test_versions_are_found_below_the_folder(
    folder: str | None, models: list[ModelSection], paths: tuple[str, ...]
) -> None:
    assert version_paths(job(folder), models) == paths


def test_models_of_other_engines_have_no_folders() -> None:
    other = {"name": "chat", "stable": "v1", "versions": {"v1": {"backends": []}}, "traffic": {"driver": "none"}}
    assert version_paths(job("/srv/models"), [ModelSection.model_validate(other)]) == ()


@pytest.mark.parametrize(
    ("address", "parts", "paths"),
    [
        ("s3://models/triton", (), ("chat/1", "chat/2")),
        ("gs://models", (), ("chat/1", "chat/2")),
        ("s3://models/triton/chat/", (), ("1", "2", "chat/1", "chat/2")),
        (
            "s3://models",
            ("triton/", "chat"),
            ("chat/1", "chat/2", "chat/chat/1", "chat/chat/2", "triton/chat/1", "triton/chat/2"),
        ),
    ],
)
@pytest.mark.parametrize("repository", [None, "/srv/models"])
def test_a_prefix_of_a_bucket_is_taken_for_a_model_repository(
    address: str, parts: tuple[str, ...], paths: tuple[str, ...], repository: str | None
) -> None:
    bucket = BackupJobSection(name="models", folder=address, parts=parts, schedule=ScheduleSection(cron="@daily"))
    assert version_paths(bucket, [model("chat", repository)]) == paths
