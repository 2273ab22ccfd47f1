"""The manifest of a control plane's backup: what else is in it, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import orjson

from controlplane.backup.errors import Damaged, NewerFormat

FORMAT: Final = 1
MANIFEST: Final = "control-plane.json"
FACT: Final = "control_plane"
"""Fact of a snapshot that is a control plane's. Its value is the format."""
SQLITE_FILE: Final = "controlplane.db"
"""The whole database, from SQLite."""
TABLES: Final = "tables"
"""Folder of the tables, from PostgreSQL."""
CONFIG: Final = "config"
"""Folder of fleet.yaml and of the rule files."""
SAMPLES: Final = "metrics"
"""Folder of the stored samples, where it was asked for."""


@dataclass(frozen=True)
class Table:
    """One table of PostgreSQL: the output of COPY in its text format, in UTF-8."""

    name: str
    columns: tuple[str, ...]
    rows: int

    @property
    def path(self) -> str:
        """Path of its file in the backup."""
        return f"{TABLES}/{self.name}.copy"


@dataclass(frozen=True)
class Manifest:
    """Content of a control plane's backup."""

    database: str
    """sqlite or postgresql."""
    revision: str
    """Revision of the database's schema."""
    made_at: float
    """Unix seconds, by the clock of the machine that made it."""
    tables: tuple[Table, ...] = ()
    """Of PostgreSQL: each table after those that it refers to."""
    sequences: Mapping[str, int] = field(default_factory=dict)
    """Of PostgreSQL: the last number that each table gave to a row, by the table's name. 0: none."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Path in the backup of each file of the configuration, and where it was."""

    def to_bytes(self) -> bytes:
        """Return the stored file: JSON."""
        return orjson.dumps({"format": FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2)


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest of a stored file. Raises Damaged and NewerFormat."""
    try:
        stored = orjson.loads(data)
        if stored["format"] != FORMAT:
            raise NewerFormat(f"{MANIFEST} has format {stored['format']}; this release reads format {FORMAT}")
        return Manifest(
            database=str(stored["database"]),
            revision=str(stored["revision"]),
            made_at=float(stored["made_at"]),
            tables=tuple(
                Table(str(t["name"]), tuple(map(str, t["columns"])), int(t["rows"])) for t in stored["tables"]
            ),
            sequences={str(name): int(last) for name, last in stored["sequences"].items()},
            config={str(path): str(was) for path, was in stored["config"].items()},
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(MANIFEST, f"it cannot be read ({type(error).__name__})") from None
