"""Edits of the section `backup` in the rich fleet.yaml."""

from __future__ import annotations

from typing import Any

Where = tuple[str | int, ...]
_JOB: Where = ("backup", "jobs", 0)
_PLANE: Where = ("backup", "jobs", 1)
_DRILL: Where = ("backup", "drill")
RICH_BACKUP: dict[str, Any] = {
    "repository": "s3://bucket/llm",
    "key_file": "/backup.key",
    "jobs": [
        {
            "name": "models",
            "folder": "/models",
            "subject": "triton",
            "version": "v1",
            "parts": ["rag"],
            "include": ["*.safetensors"],
            "exclude": ["*.tmp"],
            "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
            "keep": {"daily": 7},
            "max_age": "30h",
        },
        {"name": "plane", "control_plane": True, "schedule": "@hourly"},
    ],
    "verify": {"schedule": {"cron": "0 5 * * *"}, "sample": 5},
    "drill": {
        "schedule": {"cron": "0 6 * * sun"},
        "scratch": "/scratch",
        "jobs": ["plane"],
        "engine": {"triton": "http://127.0.0.1:8100", "load_timeout": "5m"},
        "max_age": "8d",
    },
}
_SCHEDULE: tuple[tuple[str, Any], ...] = (
    ("cron", "0 9 * * mon"),
    ("timezone", "Asia/Shanghai"),
    ("jitter", "12h"),
    ("catch_up", "2h"),
)
BACKUP_EDITS: tuple[tuple[str, Where, Any], ...] = (
    ("backup.repository", ("backup", "repository"), "file:///backups/llm"),
    ("backup.key_file", ("backup", "key_file"), "/other.key"),
    ("backup.jobs", ("backup", "jobs"), [RICH_BACKUP["jobs"][1]]),
    ("backup.jobs[].name", (*_JOB, "name"), "other"),
    ("backup.jobs[].folder", (*_JOB, "folder"), "/other"),
    ("backup.jobs[].control_plane", _PLANE, {"name": "plane", "folder": "/plane", "schedule": "@hourly"}),
    ("backup.jobs[].with_metrics", (*_PLANE, "with_metrics"), True),
    ("backup.jobs[].subject", (*_JOB, "subject"), "llm"),
    ("backup.jobs[].version", (*_JOB, "version"), "v2"),
    ("backup.jobs[].parts", (*_JOB, "parts"), ["rag", "embed"]),
    ("backup.jobs[].include", (*_JOB, "include"), ["*.gguf"]),
    ("backup.jobs[].exclude", (*_JOB, "exclude"), ["*.bak"]),
    ("backup.jobs[].schedule", (*_JOB, "schedule"), "@daily"),
    *((f"backup.jobs[].schedule.{field}", (*_JOB, "schedule", field), value) for field, value in _SCHEDULE),
    *(
        (f"backup.jobs[].keep.{unit}", (*_JOB, "keep", unit), 3)
        for unit in ("last", "hourly", "daily", "weekly", "monthly")
    ),
    ("backup.jobs[].max_age", (*_JOB, "max_age"), "2d"),
    ("backup.verify.schedule", ("backup", "verify", "schedule"), "@weekly"),
    *(
        (f"backup.verify.schedule.{field}", ("backup", "verify", "schedule", field), value)
        for field, value in _SCHEDULE
    ),
    ("backup.verify.sample", ("backup", "verify", "sample"), 10),
    ("backup.drill.schedule", (*_DRILL, "schedule"), "@weekly"),
    *((f"backup.drill.schedule.{field}", (*_DRILL, "schedule", field), value) for field, value in _SCHEDULE),
    ("backup.drill.scratch", (*_DRILL, "scratch"), "/other-scratch"),
    ("backup.drill.jobs", (*_DRILL, "jobs"), ["models", "plane"]),
    ("backup.drill.engine", (*_DRILL, "engine"), None),
    ("backup.drill.engine.triton", (*_DRILL, "engine", "triton"), "http://127.0.0.1:8200"),
    ("backup.drill.engine.load_timeout", (*_DRILL, "engine", "load_timeout"), "6m"),
    ("backup.drill.max_age", (*_DRILL, "max_age"), "9d"),
)
