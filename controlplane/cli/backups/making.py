"""The verbs `backup init` and `backup create`."""

from __future__ import annotations

import getpass
import platform
import time
from pathlib import Path

from controlplane.backup.content.facts import facts_of
from controlplane.backup.content.files import content_files
from controlplane.backup.content.origin import origin_of
from controlplane.backup.errors import BackupError, RepositoryExists
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.initial import init_repository, present
from controlplane.backup.jobs.leashed import be_gentle
from controlplane.backup.keys.keyfile import UserKey, new_key, read_key, write_key
from controlplane.backup.sources.bucket import BucketSource
from controlplane.backup.sources.walk import UNFINISHED, Source
from controlplane.backup.storage.addresses import is_cloud, open_store
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Created, Options, create_snapshot
from controlplane.cli.backups.looking import snapshot_document
from controlplane.cli.backups.opening import address, check_apart, check_buckets_apart, key_path, named, opened
from controlplane.cli.backups.progress import shown, told_when_interrupted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import counted, emit, say, say_all, size, tell, took


def init(repository: str | None, key_file: Path | None, no_encryption: bool) -> None:
    """Make an empty repository, and its key file unless that is there already.

    Raises WrongUsage when the place holds other files or the key file cannot be written, and RepositoryExists.
    """
    path, where = key_path(key_file), address(repository)
    store = open_store(where)
    if present(store):
        raise RepositoryExists(
            f"{store.address} holds a repository already, or a part of one. `controlplane backup list` reads it. For a"
            " new repository choose another address."
        )
    if strange := next(iter(store.list("")), None):
        raise WrongUsage(
            f"{store.address} holds other files, such as {strange.name}: a repository needs a folder or prefix of its"
            " own; name one that is empty or does not exist yet"
        )
    made = not path.exists()
    key = new_key() if made else read_key(path)
    if made:
        # The key first: a repository whose key was lost is of no use.
        write_key_file(path, key)
    sealing = Sealing.PLAIN if no_encryption else Sealing.AES_256_GCM
    try:
        header = init_repository(store, key, key_name=f"{path.name} of {person()}", now=time.time(), sealing=sealing)
    except RepositoryExists:
        if made:
            path.unlink(missing_ok=True)  # It opens nothing, and would hide the key file that does.
        raise
    say(f"repository {header.id} is ready at {store.address}")
    if made:
        warning = "Copy it to another place now: without it nobody can read the backups, not even you."
        tell("", f"The key is in {path}. {warning}")
    else:
        tell("", f"Its key is the one that was in {path} already.")
    if no_encryption:
        tell("", "The backups are not encrypted: everybody who can read the repository can read the models.")


def write_key_file(path: Path, key: UserKey) -> None:
    """Write the key file. Raises WrongUsage with what keeps it from being written, and with the cure."""
    folder = path.absolute().parent
    try:
        write_key(path, key)
    except FileNotFoundError:
        cure = f"its folder does not exist; make it with `mkdir -p -m 700 {folder}`"
        raise WrongUsage(f"the key file {path} cannot be written: {cure}") from None
    except PermissionError as error:
        cure = f"{error.strerror}; name another file with --key-file, or run this as a user who may write to {folder}"
        raise WrongUsage(f"the key file {path} cannot be written: {cure}") from None
    except OSError as error:
        raise WrongUsage(f"the key file {path} cannot be written: {error.strerror}") from None


def create(
    folder: str,
    repository: str | None,
    key_file: Path | None,
    name: str | None,
    version: str | None,
    part: list[str] | None,
    include: list[str] | None,
    exclude: list[str] | None,
    tag: list[str] | None,
    compress: bool,
    read_all: bool,
    output: str,
) -> None:
    """Back a folder, or a prefix of a bucket, up as one snapshot."""
    be_gentle()
    tags = dict(_pair(text) for text in tag or ())
    chosen = (tuple(part or ()), tuple(include or ()), (*UNFINISHED, *(exclude or ())))
    source = BucketSource(folder, *chosen) if is_cloud(folder) else Source(_root(folder), *chosen)
    usual = source.uri.rpartition("/")[2] if isinstance(source, BucketSource) else source.root.name
    facts = _facts(source.root) if version and isinstance(source, Source) else {}
    about = About(_named(name or usual), _text(version or ""), platform.node(), person(), tags, facts)
    tally = Tally()
    found = opened(repository, key_file)
    ended = "ended: no snapshot was made. The next backup uses what is stored already"
    with told_when_interrupted(ended), shown(tally, output):
        if isinstance(source, BucketSource):
            check_buckets_apart(found, source)
        else:
            check_apart(found, key_file, source.root)
        made = create_snapshot(found, source, about, options=Options(compress=compress, read_all=read_all), tally=tally)
    snapshot = made.snapshot
    sentence = (
        f"snapshot {snapshot.id} of {named(snapshot)}: {counted(snapshot.files, 'file')}, {size(snapshot.bytes)},"
        f" {size(snapshot.new_bytes)} new, in {took(snapshot.seconds)}"
    )
    tell_made(made, sentence, output)


def _facts(root: Path) -> dict[str, str]:
    """Return what is known of a version's files, such as their format. Empty where they cannot be looked at."""
    try:
        files = content_files(root)
    except BackupError:
        return {}  # the backup itself says what is wrong
    origin = origin_of(root, files).get("origin")
    return {**facts_of(files), **({"origin": origin} if origin else {})}


def _root(folder: str) -> Path:
    if "://" in folder:
        raise WrongUsage(f"{folder} is no folder and no bucket: use a path, s3://bucket/prefix, gs://… or az://…")
    return Path(folder).absolute()


def tell_made(made: Created, sentence: str, output: str) -> None:
    """Print what a backup made: its notes and the sentence, or the snapshot and its notes as data."""
    document = {**snapshot_document(made.snapshot), "notes": list(made.notes)}
    emit(document, output, lambda: say_all((*made.notes, sentence)))


def _named(name: str) -> str:
    if "@" in name or not name:
        raise WrongUsage(f"{name!r} cannot name a model here: @ separates the version. Give --name and --version.")
    return _text(name)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongUsage(f"{value!r} is not UTF-8") from None
    return value


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = _text(text).partition("=")
    if not equals or not key:
        raise WrongUsage(f"--tag {text}: expected NAME=VALUE")
    return key, value


def person() -> str:
    """Return the name of the user who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
