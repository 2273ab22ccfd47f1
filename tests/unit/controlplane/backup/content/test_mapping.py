"""Which folders of a snapshot are versions of which models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.content.child import Head
from controlplane.backup.content.mapping import Named, globs_of, versions_of
from controlplane.config.models import ModelSection

BACKEND = {"url": "http://a:1", "engine": "vllm"}


def section(name: str, **fields: Any) -> ModelSection:
    plain = {"traffic": {"driver": "none"}, "stable": "v1", "versions": {"v1": {"backends": [BACKEND]}}}
    return ModelSection.model_validate({"name": name, **plain, **fields})


def head(source: str, subject: str = "triton", version: str = "") -> Head:
    return Head("s1", 1.0, subject, version, source, "host", "ann")


TRITON = section("chat", files="/models/chat/{number}")
CACHE = section(
    "law",
    versions={"v1": {"backends": [BACKEND], "files": "/hub/models--o--n/snapshots/abc"}, "v2": {"backends": [BACKEND]}},
)
ALL = (TRITON, CACHE, section("bare"))


@pytest.mark.parametrize(
    ("found", "globs"),
    [
        (head("file:///models"), ("chat/*",)),
        (head("file:///models/chat"), ("*",)),
        (head("file:///models/chat/2"), (".",)),
        (head("file:///"), ("models/chat/*", "hub/models--o--n/snapshots/abc")),
        (head("file:///hub/models--o--n"), ("snapshots/abc",)),
        (head("file:///hub/models--o--n/snapshots/abc"), (".",)),
        (head("file:///other"), ()),
        (head("file:///model"), ()),
        (head("file:///other", "bare", "v9"), (".",)),
        (head("file:///other", "bare"), ()),
        (head("postgresql://db"), ()),
        (head("file:///models/chat/2", "chat", "v2"), (".",)),
        (head("odd"), ()),
    ],
)
def test_folders_that_may_be_versions(found: Head, globs: tuple[str, ...]) -> None:
    assert globs_of(found, ALL, {}) == globs


@pytest.mark.parametrize(
    ("found", "folder", "versions"),
    [
        (head("file:///models"), "chat/2", [("chat", "v2")]),
        (head("file:///models"), "chat/config.pbtxt", []),
        (head("file:///models"), "chat/02", []),
        (head("file:///models/chat/2"), ".", [("chat", "v2")]),
        (head("file:///hub/models--o--n"), "snapshots/abc", [("law", "v1")]),
        (head("file:///other", "bare", "v9"), ".", [("bare", "v9")]),
        (head("file:///models/chat/2", "chat", "v7"), ".", [("chat", "v7")]),
        (head("postgresql://db"), ".", []),
    ],
)
def test_versions_of_a_folder(found: Head, folder: str, versions: list[tuple[str, str]]) -> None:
    assert versions_of(found, folder, ALL, {}) == [Named(*each) for each in versions]


def test_letters_of_globs_and_of_addresses_stand_for_themselves() -> None:
    odd = section("chat", files="/a [b]*/{version}/files")
    found = head("file:///a%20%5Bb%5D%2A")
    assert globs_of(found, [odd], {}) == ("*/files",)
    assert versions_of(found, "v3/files", [odd], {}) == [Named("chat", "v3")]
    above = head("file:///")
    assert globs_of(above, [odd], {}) == ("a [[]b][*]/*/files",)


def test_versions_that_are_reached_by_links_are_found_behind_them() -> None:
    aliases = {Path("/hub/models--o--n/snapshots/def"): [Named("chat", "v3"), Named("law", "v2")]}
    found = head("file:///hub/models--o--n")
    assert globs_of(found, ALL, aliases) == ("snapshots/abc", "snapshots/def")
    assert versions_of(found, "snapshots/def", ALL, aliases) == [Named("chat", "v3"), Named("law", "v2")]
