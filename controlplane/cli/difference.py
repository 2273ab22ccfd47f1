"""The verb `diff`: a fleet.yaml against the configuration that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlplane.cli.client import connect, place_name
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import emit, say


def diff(file: Path, url: str | None, context: str | None, output: str) -> int:
    """Print what a reload of FILE would change in the running configuration. Return 1 when there is a change."""
    content = _content(file)
    with connect(url, context) as client:
        fleet = client.get("/cp/v1/version")["fleet"]
        changes = client.post("/cp/v1/config/diff", {"fleet": content})["changes"]
        place = place_name(client.place)
    emit(changes, output, lambda: _print(file, f"fleet {fleet} at {place}", changes))
    return 1 if changes else 0


def _content(file: Path) -> Any:
    # Imported here: the other verbs read no fleet.yaml and need not wait for this import.
    from controlplane.config.loader import fleet_content

    content = fleet_content(file)
    try:
        json.dumps(content)
    except (TypeError, ValueError) as error:
        raise WrongUsage(f"{file}: holds a value that JSON cannot express: {error}") from error
    return content


def _print(file: Path, running: str, changes: list[dict[str, Any]]) -> None:
    if not changes:
        say(f"{file} is the running configuration: {running}")
        return
    say(f"{file} compared with {running}:")
    for change in changes:
        say(f"{change['field']}  (takes effect {change['effect']})")
        for mark, value in (("-", change["running"]), ("+", change["file"])):
            if value is not None:
                say(f"  {mark} {value}")
    say("Rule files and file_sd files that it names were not compared.")
