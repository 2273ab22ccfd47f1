"""The verb `backup test-restore`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from controlplane.backup.drills.drill import Drilled, drill
from controlplane.backup.jobs.leashed import be_gentle
from controlplane.backup.tally import Tally
from controlplane.cli.backups.looking import snapshot_document
from controlplane.cli.backups.opening import check_apart, named, one, opened, reading
from controlplane.cli.backups.progress import shown, told_when_interrupted
from controlplane.cli.backups.restoring import triton_loader, triton_url
from controlplane.cli.errors import VerdictNegative
from controlplane.cli.render import counted, emit, say_all, size, took
from controlplane.errors import Unavailable


def test_restore(
    snapshot: str,
    scratch: Path,
    repository: str | None,
    key_file: Path | None,
    to_triton: str | None,
    load_timeout: int,
    output: str,
) -> None:
    """Restore a snapshot into a scratch folder, try it, and delete it again.

    Raises VerdictNegative when the engine does not answer, WrongUsage, and BackupError with what did not work.
    """
    be_gentle()
    engine = partial(triton_loader, triton_url(to_triton), load_timeout) if to_triton is not None else None
    tally, base = Tally(), scratch.absolute()
    found = opened(repository, key_file)
    check_apart(found, key_file, base)
    with reading(found, "drill"), told_when_interrupted("ended: the scratch folder is clean"), shown(tally, output):
        chosen = one(found, snapshot)
        try:
            done = drill(found, chosen, base, tally=tally, engine=engine)
        except Unavailable as error:
            raise VerdictNegative(f"{chosen.id} was restored and could not be tried: {error}") from error
    sentence = f"{chosen.id} of {named(chosen)} was restored: {_words(done)}"
    document = {
        **snapshot_document(chosen),
        "sentence": sentence,
        "restored_bytes": done.bytes,
        "restore_seconds": done.seconds,
        "served": list(done.served),
        "database_rows": None if done.counted is None else done.counted.rows,
        "series": None if done.counted is None else done.counted.series,
        "notes": list(done.notes),
    }
    emit(document, output, lambda: say_all((*done.notes, sentence)))


def _words(done: Drilled) -> str:
    words = f"{counted(done.files, 'file')}, {size(done.bytes)}, in {took(done.seconds)}"
    if done.counted is not None:
        tables = counted(done.counted.tables, "table")
        samples = (
            "" if done.counted.series is None else f", and the samples of {done.counted.series} series were opened"
        )
        return f"{words}; the database is whole, with {done.counted.rows} rows in {tables}{samples}"
    return f"{words}; Triton loaded {', '.join(done.served)}" if done.served else words
