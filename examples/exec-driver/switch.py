#!/usr/bin/env python3
"""A program for `driver: exec` that keeps the shares of versions in a JSON file, which a proxy of yours reads.

    traffic:
      driver: exec
      command: [/opt/controlplane/switch.py, /var/lib/switch/chat.json]
      weights: true

Each run gets one JSON object on standard input, and answers one on standard output. Exit status 0: done. 3: refused,
with the reason on standard error. Any other: unknown, and the control plane observes and orders again.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

SCHEMA = 1


def read(file: Path) -> dict[str, float]:
    """Return the shares in the file."""
    return json.loads(file.read_text())


def write(file: Path, weights: dict[str, float]) -> None:
    """Replace the file in one step: a reader sees the old shares or the new ones."""
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "w") as temporary:
        json.dump(weights, temporary)
        temporary.flush()
        os.fsync(temporary.fileno())
    Path(name).replace(file)


def refuse(why: str) -> NoReturn:
    """End with the exit status of a refusal."""
    sys.stderr.write(why)
    sys.exit(3)


def answer(call: dict, file: Path) -> dict:
    """Return the answer to one call."""
    match call["verb"]:
        case "observe":
            return {"weights": read(file)}
        case "prepare":
            reasons = [] if os.access(file.parent, os.W_OK) else [f"{file} cannot be written"]
            return {"reasons": reasons, "notes": [f"{file} decides the shares"]}
        case "place":
            write(file, call["weights"])
            return {}
        case "commit":
            write(file, call["weights"])
            return {"notes": [f"{file} has these shares after a restart too"]}
        case verb:
            refuse(f"unknown verb {verb}")


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    if asked["schema"] != SCHEMA:
        refuse(f"this program knows schema {SCHEMA}")
    shares = Path(sys.argv[1])
    try:
        sys.stdout.write(json.dumps({"schema": SCHEMA, **answer(asked, shares)}))
    except OSError as error:
        refuse(f"{shares}: {error}")
