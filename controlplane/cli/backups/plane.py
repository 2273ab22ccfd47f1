"""The verbs `backup control-plane`, `backup restore-control-plane` and `backup release`."""

from __future__ import annotations

import platform
import time
import uuid
from dataclasses import replace
from pathlib import Path

from sqlalchemy.engine import make_url

from controlplane.backup.errors import BackupError
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.plane.bring_back import Kept, restore_folder, restore_postgres
from controlplane.backup.plane.collect import collect, collect_samples, staged
from controlplane.backup.plane.manifest import CONFIG, FACT, FORMAT, SAMPLES
from controlplane.backup.reading.restore import check_space
from controlplane.backup.reading.swap import beside, swap_in
from controlplane.backup.sources.walk import Source
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, create_snapshot
from controlplane.cli.backups.making import person, tell_made
from controlplane.cli.backups.opening import one, opened, reading
from controlplane.cli.backups.progress import shown
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import counted, say, size, took
from controlplane.config.backup.section import METRICS_SUBJECT, PLANE_SUBJECT
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.store.backups.restored import release as release_database
from controlplane.store.database import Database, place_of
from controlplane.store.migrate import migrate

USUAL_FOLDER = Path("data")
"""The data folder of `up` without --data-dir."""


def save(
    config: Path,
    data_dir: Path | None,
    repository: str | None,
    key_file: Path | None,
    with_metrics: bool,
    output: str,
) -> None:
    """Back the control plane's database and configuration up as one snapshot, and its samples if asked for.

    It may run meanwhile.

    Raises BackupError for a repository without encryption: the database holds what nobody else may read.
    """
    loaded = load_fleet(config)
    url = _database(loaded, data_dir)
    found = opened(repository, key_file)
    if found.header.sealing is Sealing.PLAIN:
        raise BackupError(
            f"{found.store.address} is not encrypted, and the database holds hashes of tokens and the audit trail: use"
            " a repository that `backup init` made without --no-encryption"
        )
    tally = Tally()
    with staged(_beside(url, data_dir)) as folder, shown(tally, output):
        manifest = collect(url, loaded, folder, time.time())
        # After the database: alerts and rollouts of it then have the samples that they were decided on.
        lost = collect_samples(data_dir or USUAL_FOLDER, folder) if with_metrics else ()
        facts = {FACT: str(FORMAT), "database": manifest.database, "schema": manifest.revision}
        subject = METRICS_SUBJECT if with_metrics else PLANE_SUBJECT
        about = About(subject, host=platform.node(), by=person(), facts=facts)
        source = Source(folder, exclude=(), address=place_of(make_url(url)))
        made = create_snapshot(found, source, about, tally=tally)
    made = replace(made, notes=(*made.notes, *lost))
    head = made.snapshot
    content = f"{counted(len(manifest.config), 'file')} of configuration" + (" and its samples" if with_metrics else "")
    sentence = (
        f"snapshot {head.id} of {head.subject}: {manifest.database} with schema {manifest.revision}, {content},"
        f" {size(head.bytes)}, {size(head.new_bytes)} new, in {took(head.seconds)}"
    )
    tell_made(made, sentence, output)


def bring_back(snapshot: str, to: str, repository: str | None, key_file: Path | None) -> None:
    """Restore a control plane into a new data folder, or its database into an empty one of PostgreSQL.

    Raises WrongUsage when the folder is not empty, and the errors of `restore_folder` and `restore_postgres`.
    """
    found, tally = opened(repository, key_file), Tally()
    with reading(found, "restore"):
        kept = Kept(found, one(found, snapshot))
        if "://" in to:
            restore_postgres(kept, to, time.time())
            place = place_of(make_url(to))
            has_samples = any(entry.path == SAMPLES for entry in kept.entries)
            named = f"--file {CONFIG}" + (f" --file {SAMPLES}" if has_samples else "")
            what = "configuration and samples" if has_samples else "configuration"
            say(f"Its {what}: `controlplane backup restore {kept.snapshot.id} FOLDER {named}`")
        else:
            folder = Path(to).absolute()
            if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
                raise WrongUsage(f"{folder} is not an empty folder: name one that does not exist yet")
            check_space(found, folder, kept.entries)
            name = uuid.uuid4().hex[:8]
            with beside(folder, name) as fresh, shown(tally):
                restore_folder(found, kept, fresh, tally, time.time())
            if (old := swap_in(fresh, folder, name)) is not None:
                old.rmdir()
            place = str(folder)
            say(f"fleet.yaml and the rule files are in {folder / CONFIG}")
    say(f"restored {kept.snapshot.id} to {place}")
    say(
        "A control plane that starts on it only observes. Check that the lost one does not run any more, and what the"
        " engines serve now. Then run `controlplane backup release` and restart it."
    )


def release(config: Path, data_dir: Path | None, drop_messages: bool) -> None:
    """Let a restored control plane act again.

    Raises WrongUsage when there is no database, and Conflict when it is not held.
    """
    db = Database(_database(load_fleet(config), data_dir))
    try:
        if db.is_sqlite and not Path(str(db.engine.url.database)).is_file():
            raise WrongUsage(f"there is no database at {db.engine.url.database}: name the folder with --data-dir")
        migrate(db)
        held = release_database(db, person(), time.time(), drop_messages=drop_messages)
    finally:
        db.close()
    say(f"{counted(held.messages - held.dropped, 'held message')} will be sent, and {held.dropped} dropped")
    say(f"{counted(held.rollouts, 'rollout')} will go on: restart every control plane of this database")


def _database(loaded: LoadedFleet, data_dir: Path | None) -> str:
    """Return the URL of the control plane's database, as `up` finds it."""
    return loaded.fleet.database or f"sqlite:///{(data_dir or USUAL_FOLDER).resolve() / 'controlplane.db'}"


def _beside(url: str, data_dir: Path | None) -> Path:
    """Return the folder in which the copy is made: it is as private, and on the same disk, as the data."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        folder = Path(str(parsed.database)).absolute().parent
    else:
        folder = (data_dir or USUAL_FOLDER).absolute()
    if not folder.is_dir():
        raise WrongUsage(f"there is no folder {folder}: name the control plane's folder with --data-dir")
    return folder
