"""Backups of model files beside restic: CPU, throughput, memory, and the new bytes of a second version.

Both encrypt, and write to a folder on the same disk, one after the other. Before a verification and a restore the
repository leaves the page cache: a restore after a loss finds a cold one. The first version is one file
of incompressible bytes. The second one is a safetensors file with 8 % of its tensors trained again. `dd` with fsync
says what the disk takes. CPU is user and system time of the child process, from `wait4`.

    python benchmarks/bench_backup.py --gigabytes 4 --folder /var/tmp
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TENSORS = 100
RETRAINED = 8
"""Tensors of the second version that differ."""
GB = 1e9


@dataclass(frozen=True)
class Cost:
    """What one run of a program took."""

    seconds: float
    cpu_s: float
    peak_mb: float


def measured(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command. Exits with its output when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


class Ours:
    """`controlplane backup`, with a new repository."""

    name = "controlplane"

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        self._environment = {"CP_BACKUP_REPOSITORY": str(self.repository), "CP_BACKUP_KEY_FILE": str(folder / "key")}
        self._run("init")

    def _run(self, *words: str) -> Cost:
        return measured([sys.executable, "-m", "controlplane", "backup", *words], self._environment)

    def backup(self, source: Path) -> Cost:
        """Back a folder up."""
        return self._run("create", str(source), "--name", "model")

    def restore(self, target: Path) -> Cost:
        """Restore the newest snapshot."""
        return self._run("restore", "model", str(target))

    def verify(self) -> Cost:
        """Read everything again."""
        return self._run("verify")


class Restic:
    """Debian's restic, with a new repository."""

    name = "restic"

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        cache = str(folder / "cache")
        self._environment = {"RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": cache}
        self._run("init")

    def _run(self, *words: str) -> Cost:
        return measured(["restic", "-q", "-r", str(self.repository), *words], self._environment)

    def backup(self, source: Path) -> Cost:
        """Back a folder up."""
        return self._run("backup", str(source))

    def restore(self, target: Path) -> Cost:
        """Restore the newest snapshot."""
        return self._run("restore", "latest", "--target", str(target))

    def verify(self) -> Cost:
        """Read everything again."""
        return self._run("check", "--read-data")


def write_version(path: Path, size: int, *, seed: int, retrained: int = 0) -> None:
    """Write a safetensors file of noise. `retrained` of its tensors differ from those with the same seed."""
    each = size // TENSORS
    header: dict[str, Any] = {
        f"layers.{number}": {"dtype": "U8", "shape": [each], "data_offsets": [number * each, (number + 1) * each]}
        for number in range(TENSORS)
    }
    if retrained:
        header["__metadata__"] = {"trained": "again"}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(TENSORS):
            _noise(file, each, 1000 * seed + number + (TENSORS if number < retrained else 0))
        file.flush()
        os.fsync(file.fileno())


def _noise(file: BinaryIO, size: int, seed: int) -> None:
    """Write bytes that no compressor shrinks, the same for the same seed."""
    stream = Cipher(algorithms.AES(seed.to_bytes(16, "big")), modes.CTR(bytes(16))).encryptor()
    while size:
        part = min(size, 8 << 20)
        file.write(stream.update(bytes(part)))
        size -= part


def stored(repository: Path) -> int:
    """Return the bytes of all files of a repository."""
    return sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())


def evict(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def dd(folder: Path, size: int) -> float:
    """Return the bytes a second that `dd` with fsync writes."""
    target = folder / "dd"
    command = ["dd", "if=/dev/zero", f"of={target}", "bs=4M", f"count={size // (4 << 20)}", "conv=fsync"]
    cost = measured(command, {})
    target.unlink()
    return size // (4 << 20) * (4 << 20) / cost.seconds


def compare(folder: Path, size: int) -> None:
    """Run both programs and print their figures."""
    first, second = folder / "v1", folder / "v2"
    for version, retrained in ((first, 0), (second, RETRAINED)):
        version.mkdir()
        write_version(version / "model.safetensors", size, seed=7, retrained=retrained)
    rate = dd(folder, size)
    print(f"{size / GB:.1f} GB of noise; dd with fsync {rate / 1e6:.0f} MB/s; load {os.getloadavg()[0]:.1f}")
    print(f"{'':<14}{'run':<22}{'s':>8}{'MB/s':>8}{'CPU-s/GB':>10}{'peak MB':>9}{'new MB':>9}")
    rows: dict[tuple[str, str], Cost] = {}
    new: dict[str, float] = {}
    for kind in (Ours, Restic):
        home = folder / kind.name
        home.mkdir()
        program = kind(home)
        for word, source in (("first backup", first), ("unchanged again", first), ("8 % trained again", second)):
            before = stored(program.repository)
            cost = rows[kind.name, word] = program.backup(source)
            new[kind.name] = stored(program.repository) - before
            _row(kind.name, word, cost, size, new[kind.name])
        evict(program.repository)
        rows[kind.name, "verify"] = program.verify()
        evict(program.repository)
        rows[kind.name, "restore"] = program.restore(home / "out")
        for word in ("verify", "restore"):
            _row(kind.name, word, rows[kind.name, word], size, 0)
        restored = next((home / "out").rglob("model.safetensors"))
        subprocess.run(["cmp", str(restored), str(second / "model.safetensors")], check=True)
        shutil.rmtree(home)
    _verdicts(rows, new, size, rate)


def _row(name: str, word: str, cost: Cost, size: int, new: float) -> None:
    speed, cpu = size / cost.seconds / 1e6, cost.cpu_s / (size / GB)
    print(f"{name:<14}{word:<22}{cost.seconds:>8.2f}{speed:>8.0f}{cpu:>10.2f}{cost.peak_mb:>9.0f}{new / 1e6:>9.0f}")


def _verdicts(rows: Mapping[tuple[str, str], Cost], new: Mapping[str, float], size: int, rate: float) -> None:
    def ratio(word: str, of: str) -> float:
        ours, theirs = rows["controlplane", word], rows["restic", word]
        value: float = getattr(ours, of) / getattr(theirs, of)
        return value

    first = rows["controlplane", "first backup"]
    peak = max(cost.peak_mb for (name, _), cost in rows.items() if name == "controlplane")
    lines = (
        ("CPU of a backup, of restic's", ratio("first backup", "cpu_s"), "<=", 0.15),
        ("throughput of a backup, of restic's", 1 / ratio("first backup", "seconds"), ">=", 3.0),
        ("throughput of a backup, of dd's", size / first.seconds / rate, ">=", 0.6),
        ("time of an unchanged run, of restic's", ratio("unchanged again", "seconds"), "<=", 0.5),
        ("throughput of a restore, of restic's", 1 / ratio("restore", "seconds"), ">=", 3.0),
        ("peak memory, MB", peak, "<=", 400.0),
        ("new bytes of the second version, of all", new["controlplane"] / size, "<=", 0.1),
    )
    for words, value, sign, target in lines:
        met = value <= target if sign == "<=" else value >= target
        print(f"{words:<42}{value:>8.3f}  target {sign} {target:g}  {'met' if met else 'NOT met'}")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=None, help="a folder on the disk to measure")
    options = parser.parse_args()
    if shutil.which("restic") is None:
        sys.exit("restic is missing: apt-get install restic")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare(Path(folder), int(options.gigabytes * GB))


if __name__ == "__main__":
    main()
