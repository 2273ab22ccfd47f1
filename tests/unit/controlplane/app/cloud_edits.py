"""Edits of a cloud's place and keys."""

from __future__ import annotations

from typing import Any

AWS: tuple[str | int, ...] = ("targets", 5, "aws")

CLOUD_EDITS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("targets[].aws.region", (*AWS, "region"), "us-east-1"),
    ("targets[].aws.credentials_file", (*AWS, "credentials_file"), "/k2"),
    ("targets[].aws.profile", (*AWS, "profile"), "other"),
]
