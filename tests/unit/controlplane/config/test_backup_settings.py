"""The section `backup`: what it accepts, its defaults, and its faults with their places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.config.backup.buckets import overlapping
from controlplane.config.loader import load_fleet
from controlplane.errors import ConfigErrors

FOLDER = {"name": "models", "folder": "models", "schedule": "@daily"}


def write(tmp_path: Path, **section: Any) -> Path:

    path = tmp_path / "fleet.yaml"
    given = {"repository": "s3://bucket/llm", "key_file": "backup.key", "jobs": [FOLDER], **section}
    path.write_text(json.dumps({"fleet": {"name": "test"}, "backup": given}))
    return path


def test_defaults_and_paths_beside_the_file(tmp_path: Path) -> None:
    section = load_fleet(write(tmp_path)).fleet.backup
    assert section is not None and section.key_file == tmp_path / "backup.key"
    (job,) = section.jobs
    assert (job.folder, job.about, job.max_age, job.keep) == (tmp_path / "models", "models", 93_600.0, None)


@pytest.mark.parametrize("address", ["file:///backups", "/backups", "gs://bucket", "az://container/prefix"])
def test_addresses_of_repositories(tmp_path: Path, address: str) -> None:
    section = load_fleet(write(tmp_path, repository=address)).fleet.backup
    assert section is not None and section.repository == address


@pytest.mark.parametrize("address", ["s3://models/triton", "gs://models", "az://container/t", "s3://bucket/llm2"])
def test_buckets_as_folders(tmp_path: Path, address: str) -> None:
    section = load_fleet(write(tmp_path, **job(folder=address))).fleet.backup
    assert section is not None and section.jobs[0].folder == address


def test_the_scheme_of_a_bucket_is_read_in_any_case(tmp_path: Path) -> None:
    section = load_fleet(write(tmp_path, repository="S3://Bucket/LLM", **job(folder="GS://models/T"))).fleet.backup
    assert section is not None
    assert (section.repository, section.jobs[0].folder) == ("s3://Bucket/LLM", "gs://models/T")


def test_snapshots_with_samples_have_a_subject_of_their_own(tmp_path: Path) -> None:
    plane = {"control_plane": True, "schedule": "@daily"}
    jobs = [{"name": "hourly", **plane}, {"name": "samples", "with_metrics": True, **plane}]
    section = load_fleet(write(tmp_path, jobs=jobs)).fleet.backup
    assert section is not None
    assert [one.about for one in section.jobs] == ["control-plane", "control-plane-with-metrics"]


def test_addresses_of_one_bucket_overlap_however_they_are_written() -> None:
    assert overlapping("S3://models", "s3://models/bk") and overlapping("s3://models/b%6b/", "S3://models//x/../bk")
    assert not overlapping("s3://models/bk2", "s3://models/bk") and not overlapping("gs://models", "s3://models")


def job(**fields: Any) -> dict[str, Any]:
    return {"jobs": [{**FOLDER, **fields}]}


def drill(**fields: Any) -> dict[str, Any]:
    return {"drill": {"schedule": "@weekly", "scratch": "/scratch", **fields}}


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"repository": "backups"}, "backup.repository", "an absolute path"),
    ({"repository": "s3://key:secret@bucket/llm"}, "backup.repository", "holds credentials"),
    ({"repository": "s3://bucket?secret=x"}, "backup.repository", "holds credentials"),
    ({"repository": "s3:///llm"}, "backup.repository", "names no bucket"),
    ({"repository": "file://host/llm"}, "backup.repository", "three slashes"),
    ({"jobs": []}, "backup", "does nothing"),
    ({"jobs": [FOLDER, FOLDER]}, "backup.jobs[1].name", "'models' is taken by jobs[0]"),
    (job(folder=None), "backup.jobs[0]", "needs one of folder: PATH, control_plane: true"),
    (job(control_plane=True), "backup.jobs[0]", "needs one of folder: PATH, control_plane: true"),
    (job(folder=None, control_plane=True, parts=["a"]), "backup.jobs[0].parts", "is for folder:"),
    (job(folder="s3://key:secret@models/t"), "backup.jobs[0].folder", "holds credentials"),
    (job(folder="s3:///t"), "backup.jobs[0].folder", "names no bucket"),
    (job(folder="https://models/t"), "backup.jobs[0].folder", "expected a path, s3://bucket/prefix"),
    (job(folder="s3://bucket"), "backup.jobs[0].folder", "must not contain backup.repository"),
    (job(folder="s3://bucket/llm/models"), "backup.jobs[0].folder", "must not contain backup.repository"),
    (job(folder="S3://bucket/llm/models"), "backup.jobs[0].folder", "must not contain backup.repository"),
    (job(folder="s3://bucket/x/../llm"), "backup.jobs[0].folder", "must not contain backup.repository"),
    (job(folder="s3://bucket/%6clm"), "backup.jobs[0].folder", "must not contain backup.repository"),
    ({"repository": "S3://bucket", **job(folder="s3://bucket/m")}, "backup.jobs[0].folder", "must not contain"),
    ({**drill(), "repository": "FILE:///tmp/s/r", "drill": {"schedule": "@weekly", "scratch": "/tmp/s"}},
     "backup.drill.scratch", "the repository contain each other"),
    (job(with_metrics=True), "backup.jobs[0].with_metrics", "is for control_plane: true"),
    (job(name="verify"), "backup.jobs[0].name", "names the runs of backup.verify"),
    (job(subject="chat@v1"), "backup.jobs[0].subject", "holds @"),
    (job(subject=""), "backup.jobs[0].subject", "is empty"),
    (job(subject="control-plane"), "backup.jobs[0].subject", "set another subject:"),
    (job(subject="control-plane-with-metrics"), "backup.jobs[0].subject", "set another subject:"),
    (job(keep={}), "backup.jobs[0].keep", "keeps nothing"),
    (job(keep={"daily": -1}), "backup.jobs[0].keep.daily", ""),
    (job(schedule="0 25 * * *"), "backup.jobs[0].schedule.cron", "hour"),
    (job(max_age="0s"), "backup.jobs[0].max_age", ""),
    ({"verify": {"schedule": "@daily", "sample": 0}}, "backup.verify.sample", ""),
    (job(name="drill-models"), "backup.jobs[0].name", "those of drills"),
    (drill(jobs=["models", "gone"]), "backup.drill.jobs[1]", "'gone'"),
    (drill(engine={"triton": "localhost:8000"}), "backup.drill.engine.triton", ""),
    (drill(engine={"triton": "http://t:8000", "load_timeout": "2h"}), "backup.drill.engine.load_timeout", ""),
    (drill(scratch="models/scratch"), "backup.drill.scratch", "the folder of the job models contain each other"),
    (drill(scratch="."), "backup.drill.scratch", "contain each other"),
    ({**drill(), "repository": "file:///tmp/s/r", "drill": {"schedule": "@weekly", "scratch": "/tmp/s"}},
     "backup.drill.scratch", "the repository contain each other"),
    ({**drill(), **job(name="a" * 58)}, "backup.jobs[0].name", "too many for a drill"),
    ({**drill(), "jobs": [], "verify": {"schedule": "@daily"}}, "backup.drill", "add jobs:"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "field", "words"), FAULTS)
def test_faults_name_their_place(tmp_path: Path, section: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        load_fleet(write(tmp_path, **section))
    (fault,) = raised.value.errors
    assert fault.field == field and words in fault.reason


def test_a_checklist_names_a_job_that_exists(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    content["rollouts"] = {"checklist": [{"name": "backup", "backup": "models"}]}
    path.write_text(json.dumps(content))
    item = load_fleet(path).fleet.rollouts.checklist[0]
    assert (item.backup, item.builtin) == ("models", False)
    content["models"] = [
        {
            "name": "chat",
            "stable": "v1",
            "traffic": {"driver": "none"},
            "versions": {"v1": {}},
            "rollout": {
                "checklist": [{"name": "backup", "backup": "model"}, {"name": "b", "backup": "a", "expr": "up"}]
            },
        }
    ]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigErrors) as raised:
        load_fleet(path)
    faults = {fault.field: fault.reason for fault in raised.value.errors}
    assert "did you mean 'models'" in faults["models[0].rollout.checklist[0].backup"]
    assert faults["models[0].rollout.checklist[1]"] == "expr: and backup: cannot both be given"


def test_a_drill_tries_all_jobs_or_those_that_it_names(tmp_path: Path) -> None:
    jobs = [FOLDER, {"name": "plane", "control_plane": True, "schedule": "@daily"}]
    for names, tried in ([], ["models", "plane"]), (["plane"], ["plane"]):
        section = load_fleet(write(tmp_path, jobs=jobs, **drill(jobs=names))).fleet.backup
        assert section is not None and section.drill is not None and section.drill.max_age == 8 * 86400
        assert [one.name for one in section.drilled] == tried
    section = load_fleet(write(tmp_path)).fleet.backup
    assert section is not None and section.drilled == ()


def test_a_drill_uses_no_engine_and_no_folder_that_serves_a_model(tmp_path: Path) -> None:
    path = write(tmp_path, **drill(scratch="/srv/models/x", engine={"triton": "http://10.0.0.1:8000/"}))
    backends = [{"url": "http://10.0.0.1:8000", "repository": "/srv/models"}]
    traffic = {"driver": "triton", "backends": backends}
    model = {"name": "chat", "versions": {"v1": {}}, "stable": "v1", "traffic": traffic}
    path.write_text(json.dumps({**json.loads(path.read_text()), "models": [model]}))
    with pytest.raises(ConfigErrors) as raised:
        load_fleet(path)
    assert [(fault.field, fault.reason) for fault in raised.value.errors] == [
        ("backup.drill.engine.triton", "serves the model chat: a drill needs a Triton of its own"),
        (
            "backup.drill.scratch",
            "and the repository of the model chat contain each other: a drill needs its own folder",
        ),
    ]
