"""The verb `backup key`: which key files open the repository."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

from controlplane.backup.errors import WrongKey
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.keys.changing import KnownKey, add_key, known_keys, remove_key, rotate
from controlplane.backup.keys.keyfile import UserKey, new_key, read_key
from controlplane.backup.repository import Repository, read_header
from controlplane.backup.storage.addresses import open_store
from controlplane.backup.storage.store import Store
from controlplane.cli.backups.making import person, write_key_file
from controlplane.cli.backups.opening import address, key_path, opened
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import clock, columns, counted, emit, say, tell
from controlplane.cli.table import UNKNOWN

ACTIONS = ("list", "add", "remove", "rotate")


def key(
    action: str,
    what: str | None,
    repository: str | None,
    key_file: Path | None,
    name: str | None,
    other: list[Path] | None,
    yes: bool,
    output: str,
) -> None:
    """List the keys of a repository, add or remove one, or begin a new data key."""
    _check_usage(action, what, name, other, yes)
    match action:
        case "list":
            _list(open_store(address(repository)), key_file, output)
        case "add":
            assert what is not None
            _add(opened(repository, key_file), key_file, Path(what), name)
        case "remove":
            assert what is not None
            _remove(opened(repository, key_file), key_file, what, yes)
        case _:
            _rotate(opened(repository, key_file), key_file, other or [])


def _check_usage(action: str, what: str | None, name: str | None, others: list[Path] | None, yes: bool) -> None:
    needed = {"add": "the new key file", "remove": "the id of a key, or its beginning"}
    if action in needed and what is None:
        raise WrongUsage(f"backup key {action} needs {needed[action]}")
    if action not in needed and what is not None:
        raise WrongUsage(f"backup key {action} takes no further word: {what!r}")
    for option, given, of in (("--name", name, "add"), ("--other", others, "rotate"), ("--yes", yes, "remove")):
        if given and action != of:
            raise WrongUsage(f"{option} is for backup key {of}")


def _list(store: Store, key_file: Path | None, output: str) -> None:
    header = read_header(store)
    own = _own_id(key_file)
    found, epochs = known_keys(store)
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "made_at": None if one.made_at is None else clock(one.made_at),
            "lacks": one.lacks,
            "used": one.id == own,
            "fault": one.fault,
        }
        for one in found
    ]
    document = {"repository": header.id, "data_keys": 1 + len(epochs.ready), "keys": rows}

    def table() -> None:
        lines = [
            (one.id, one.name or UNKNOWN, _made(one), _has(one), "this one" if one.id == own else "") for one in found
        ]
        columns(("KEY", "NAME", "MADE", "DATA KEYS", "KEY FILE"), lines, empty="no key opens this repository")
        say(f"{counted(1 + len(epochs.ready), 'data key')}; new data gets the one of epoch {epochs.newest:08x}")
        if own and own not in {one.id for one in found}:
            say(f"the key file holds {own}, which does not open this repository", sys.stderr)

    emit(document, output, table)


def _made(one: KnownKey) -> str:
    return UNKNOWN if one.made_at is None else clock(one.made_at)


def _has(one: KnownKey) -> str:
    return one.fault or ("all" if not one.lacks else f"lacks {one.lacks}")


def _own_id(key_file: Path | None) -> str:
    """Return the id of the key file; empty: none is named, or it cannot be read. The list needs none."""
    try:
        return read_key(key_path(key_file)).id
    except WrongUsage:
        return ""
    except WrongKey as error:
        say(str(error), sys.stderr)
        return ""


def _add(found: Repository, key_file: Path | None, path: Path, name: str | None) -> None:
    own = read_key(key_path(key_file))
    made = not path.exists()
    new = new_key() if made else read_key(path)
    if new == own:
        raise WrongUsage(f"{path} holds the key {own.id}, which opens the repository already")
    if made:
        # The file first: a key whose file was lost is of no use. A second try uses the file that is there.
        write_key_file(path, new)
    called = name or f"{path.name} of {person()}"
    fresh = add_key(found.store, found.header, own, new, name=called, now=time.time(), host=platform.node())
    if not fresh:
        say(f"key {new.id} in {path} opens {found.store.address} already, with all its data keys")
        return
    say(f"key {new.id} opens {found.store.address} now, with everything in it")
    tell("", f"It is in {path}. Whoever has this file can read all backups: keep it as safe as the first one.")


def _remove(found: Repository, key_file: Path | None, what: str, yes: bool) -> None:
    own = read_key(key_path(key_file))
    known = {one.id: one for one in known_keys(found.store)[0]}
    matching = [one for one in known if one.startswith(what)]
    if len(matching) > 1:
        raise WrongUsage(f"{what!r} begins the ids of {len(matching)} keys; write more of the id")
    identity = matching[0] if matching else what
    if identity in known and identity != own.id and not yes:
        _ask(known[identity])
    remove_key(found.store, found.header, own, identity, host=platform.node())
    say(f"key {identity} does not open {found.store.address} any more")
    tell(
        "",
        "Whoever had its file may have kept the data keys. `controlplane backup key rotate` keeps what is backed up"
        " from now on from them; what is stored already they can read where they can read the repository.",
    )
    _tell_plain(found)


def _ask(one: KnownKey) -> None:
    if not sys.stdin.isatty():
        raise WrongUsage("no terminal to ask: add --yes to remove the key")
    named = f" ({one.name})" if one.name else ""
    say(f"Remove key {one.id}{named}? Machines with this key file can then neither back up nor restore. [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise WrongUsage("nothing was changed")


def _rotate(found: Repository, key_file: Path | None, others: list[Path]) -> None:
    own = read_key(key_path(key_file))
    keys: dict[str, UserKey] = {str(path): read_key(path) for path in others}
    epoch = rotate(found.store, found.header, own, keys, now=time.time(), host=platform.node())
    say(f"new data of {found.store.address} gets a new data key, of epoch {epoch:08x}")
    tell(
        "",
        "Data that is stored already keeps its data key until a prune packs it again. Backups that run now use the old"
        " one to their end. Key files stay as they are.",
    )
    _tell_plain(found)


def _tell_plain(found: Repository) -> None:
    if found.header.sealing is Sealing.PLAIN:
        tell("", "The backups are not encrypted: everybody who can read the repository can read them without any key.")
