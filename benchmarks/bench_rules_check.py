"""CPU time of `rules check` for many rule files, against `promtool check rules` for the same files, in the same run.

The files are made from the shipped packs: 214 files with about 2,300 rules. Most rules read metrics that the catalogue
does not know, as users' rules do. Prints CPU seconds with the start of the program, the least of several rounds.
Target: 3 s.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import as_prometheus

FILES, ROUNDS, SEED = 214, 3, 7


def write_files(folder: Path) -> tuple[list[str], int]:
    """Write rule files, and return their paths and the number of their rules."""
    chance = random.Random(SEED)
    groups: Any = as_prometheus(group for name in BUILTIN for group in load_pack(name, options=EXAMPLE))["groups"]
    shipped = [rule for group in groups for rule in group["rules"]]
    paths, total = [], 0
    for number in range(FILES):
        rules = [dict(chance.choice(shipped)) for _ in range(chance.randint(4, 18))]
        for place, rule in enumerate(rules):
            kind = "alert" if "alert" in rule else "record"
            rule[kind] += f"_{number}_{place}"
            rule["expr"] = rule["expr"].replace("llm_", f"app{chance.randint(0, 60)}_")
        path = folder / f"{number}.rules.yml"
        # JSON is YAML, and every reader of YAML reads it.
        path.write_text(json.dumps({"groups": [{"name": f"g{number}", "rules": rules}]}, indent=1))
        paths.append(str(path))
        total += len(rules)
    return paths, total


def cpu_seconds(command: list[str]) -> float:
    """Run a command to its end, and return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    promtool = shutil.which("promtool")
    if promtool is None:
        sys.exit("promtool is not installed (Debian: prometheus)")
    with tempfile.TemporaryDirectory() as folder:
        paths, rules = write_files(Path(folder))
        ours = [str(Path(sys.executable).with_name("controlplane")), "rules", "check", *paths]
        theirs = [promtool, "check", "rules", *paths]
        rounds = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(ROUNDS)]
    a, b = (min(column) for column in zip(*rounds, strict=True))
    print(f"{FILES} files, {rules} rules: rules check {a:.2f} s (target 3 s), promtool {b:.2f} s, ratio {a / b:.1f}")


if __name__ == "__main__":
    main()
