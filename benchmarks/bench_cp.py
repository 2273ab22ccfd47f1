"""Wall time of `cp` with the environment active, against coreutils' own cp, in the same run.

Prints milliseconds a call. Rounds alternate, so that a busy machine slows both alike. Target: less than 2 ms more.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "bin" / "cp"
COREUTILS = "/bin/cp"
ROUNDS, CALLS = 20, 25


def call(program: str, environment: dict[str, str]) -> None:
    """Run `program a b` to its end, in the cheapest way that Python offers."""
    pid = os.posix_spawn(program, ["cp", "a", "b"], environment)
    _, status = os.waitpid(pid, 0)
    assert status == 0


def milliseconds(program: str, environment: dict[str, str]) -> float:
    """Return the mean milliseconds of one call in a round."""
    started = time.perf_counter()
    for _ in range(CALLS):
        call(program, environment)
    return (time.perf_counter() - started) * 1000 / CALLS


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        bin_ = Path(folder) / "bin"
        bin_.mkdir()
        (bin_ / "cp").write_bytes(SCRIPT.read_bytes())
        (bin_ / "cp").chmod(0o755)
        os.chdir(folder)
        Path("a").write_text("x")
        environment = {"PATH": f"{bin_}:/usr/local/bin:/usr/bin:/bin"}
        rounds = [
            (milliseconds(str(bin_ / "cp"), environment), milliseconds(COREUTILS, environment)) for _ in range(ROUNDS)
        ]
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"cp a b: {ours:.2f} ms through our script, {theirs:.2f} ms coreutils alone")
    print(f"difference: {ours - theirs:.2f} ms (target < 2 ms), ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
