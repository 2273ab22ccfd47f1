"""The verb `backup verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from controlplane.backup.reading.verify import Verdict, verify
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.cli.backups.opening import opened, reading
from controlplane.cli.backups.progress import shown
from controlplane.cli.errors import VerdictNegative
from controlplane.cli.render import counted, emit, say, size

TOUCHED_SHOWN = 20


def verify_repository(repository: str | None, key_file: Path | None, sample: float | None, output: str) -> None:
    """Read packs again and check every chunk. Raises VerdictNegative when something is damaged."""
    tally = Tally()
    found = opened(repository, key_file)
    with reading(found, "verify"), shown(tally, output):
        verdict = verify(found, share=1.0 if sample is None else sample / 100, lanes=usual_lanes(), tally=tally)
    emit({"good": verdict.good, **asdict(verdict)}, output, lambda: _tell_verdict(verdict))
    if not verdict.good:
        raise VerdictNegative("the repository is damaged; a backup of a source that still has the bytes heals it")


def _tell_verdict(verdict: Verdict) -> None:
    snapshots = counted(verdict.snapshots, "snapshot")
    say(f"read {verdict.packs} of {counted(verdict.of, 'pack')}, {size(verdict.bytes)}; {snapshots}")
    for note in verdict.notes:
        say(note)
    if verdict.good:
        say("everything that was read is whole, and every snapshot has all its chunks")
        return
    for fault in verdict.faults:
        say(fault)
    for touched in verdict.touched[:TOUCHED_SHOWN]:
        say(f"snapshot {touched.snapshot} cannot restore {touched.path or 'its list of files'}: chunk {touched.chunk}")
    if len(verdict.touched) > TOUCHED_SHOWN:
        say(f"… and {len(verdict.touched) - TOUCHED_SHOWN} more files")
