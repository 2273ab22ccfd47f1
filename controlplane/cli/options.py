"""Options that many verbs share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.render import Output

Url = Annotated[
    str | None, typer.Option("--url", help="Address of the control plane (else CP_URL, else the current context).")
]
As = Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")]
Listen = Annotated[str, typer.Option("--listen", help="host:port; loopback unless you say otherwise.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where state is kept.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many rows.")]
