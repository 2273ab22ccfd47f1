"""Field managers: who owns which field, and server-side apply with its conflicts."""

import copy
from typing import Any, NamedTuple

from tests.fakes.kubernetes.errors import ApiError, Cause
from tests.fakes.kubernetes.fields import (
    Path,
    Paths,
    applied_paths,
    compared,
    decoded,
    encoded,
    owned_part,
)
from tests.fakes.kubernetes.schemas.schema import ANY, Schema

Json = dict[str, Any]


class Manager(NamedTuple):
    """One manager of fields. A person's tool that updates and applies is two managers."""

    name: str
    operation: str
    version: str
    subresource: str = ""


class Owned(NamedTuple):
    """What a manager owns, and when it last took a field ("" for never)."""

    paths: Paths
    time: str


Managers = dict[Manager, Owned]


def read(found: Json) -> Managers:
    """Return the managers of an object."""
    return {
        Manager(entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource", "")): Owned(
            decoded(entry["fieldsV1"]), entry.get("time", "")
        )
        for entry in found.get("metadata", {}).get("managedFields", [])
    }


def write(found: Json, managers: Managers) -> None:
    """Write the managers into an object: those that apply first, then by time, then by name."""
    entries = []
    order = sorted(managers.items(), key=lambda item: (item[0].operation, item[1].time, item[0]))
    for manager, owned in order:
        if not owned.paths:
            continue
        entry: Json = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.version}
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": encoded(owned.paths)}
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    found["metadata"].pop("managedFields", None)
    if entries:
        found["metadata"]["managedFields"] = entries


def updated(before: Json, after: Json, schema: Schema, by: Manager, now: str, ignored: str = "") -> None:
    """Write the managers of an update into `after`: its manager takes what changed from all the others.

    ignored: a top-level field that the request cannot change, which nobody comes to own.
    """
    managers = read(before)
    change = compared(owned_part(before), owned_part(after), schema)
    taken = _without(change.added | change.modified, ignored)
    managers = {
        manager: Owned(owned.paths - taken - change.removed if manager != by else owned.paths - change.removed,
                       owned.time)
        for manager, owned in managers.items()
    }  # fmt: skip
    if taken:
        mine = managers.get(by, Owned(frozenset(), ""))
        # The real server writes no time for a manager that scales.
        managers[by] = Owned(mine.paths | taken, "" if by.subresource == "scale" else now)
    write(after, managers)


def applied(before: Json, config: Json, schema: Schema, by: Manager, now: str, force: bool) -> Json:
    """Return the object with a configuration applied. The caller has filled in no defaults yet.

    Raises ApiError 409 when another manager owns a field with another value and `force` is false.
    """
    managers = read(before)
    after: Json = _merged(before, config, schema)
    mine = applied_paths(owned_part(config), schema)
    last = managers.get(by, Owned(frozenset(), ""))
    others = frozenset().union(*(owned.paths for manager, owned in managers.items() if manager != by), mine)
    dropped = {path for path in last.paths if path not in others and not _covers(path, others)}
    after = _pruned(after, dropped, schema)
    change = compared(owned_part(before), owned_part(after), schema)
    taken = change.added | change.modified
    clashes = {
        manager: owned.paths & taken for manager, owned in managers.items() if manager != by and owned.paths & taken
    }
    if clashes and not force:
        raise _conflict(clashes)
    managers = {
        manager: Owned(owned.paths - taken - change.removed, owned.time)
        for manager, owned in managers.items()
        if manager != by
    }
    moved = bool(taken or change.removed)
    managers[by] = Owned(mine, now if moved else last.time)
    write(after, managers)
    return after


def _without(paths: Paths, ignored: str) -> Paths:
    if not ignored:
        return paths
    return frozenset(path for path in paths if path[0] != f"f:{ignored}")


def _covers(path: Path, others: Paths) -> bool:
    return any(other[: len(path)] == path for other in others)


def _merged(target: Any, config: Any, schema: Schema) -> Any:
    if isinstance(config, dict) and isinstance(target, dict) and not schema.atomic:
        out = copy.deepcopy(target)
        for key, value in config.items():
            out[key] = _merged(out[key], value, schema.child(key)) if key in out else copy.deepcopy(value)
        return out
    if isinstance(config, list) and isinstance(target, list) and schema.is_keyed:
        items = schema.values or ANY
        old = {schema.item_key(item): item for item in target}
        for item in config:
            key = schema.item_key(item)
            old[key] = _merged(old[key], item, items) if key in old else copy.deepcopy(item)
        return list(old.values())
    return copy.deepcopy(config)


def _pruned(value: Any, dropped: set[Path], schema: Schema, at: Path = ()) -> Any:
    if isinstance(value, dict) and not schema.atomic:
        return {
            key: _pruned(child, dropped, schema.child(key), (*at, f"f:{key}"))
            for key, child in value.items()
            if (*at, f"f:{key}") not in dropped
        }
    if isinstance(value, list) and schema.is_keyed:
        kept = [item for item in value if (*at, schema.item_key(item)) not in dropped]
        return [_pruned(item, dropped, schema.values or ANY, (*at, schema.item_key(item))) for item in kept]
    return value


def _conflict(clashes: dict[Manager, Paths]) -> ApiError:
    causes = []
    told: dict[str, list[str]] = {}
    for manager, paths in sorted(clashes.items()):
        name = f'conflict with "{manager.name}"'
        name += f' with subresource "{manager.subresource}"' if manager.subresource else ""
        name += f" using {manager.version}" if manager.operation == "Update" else ""
        for path in sorted(paths):
            causes.append(Cause("FieldManagerConflict", name, "." + _told(path)))
            told.setdefault(name, []).append("." + _told(path))
    count = len(causes)
    if count == 1:
        listed = f"{causes[0].message}: {causes[0].field}"
    else:
        listed = "\n".join(
            name.replace("conflict ", "conflicts ", 1) + ":\n" + "\n".join(f"- {path}" for path in paths)
            for name, paths in told.items()
        )
    message = f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {listed}"
    return ApiError(409, "Conflict", message, {"causes": [cause._asdict() for cause in causes]})


def _told(path: Path) -> str:
    """Return a path as a conflict writes it, for example 'spec.ports[port=8000,protocol="TCP"].name'."""
    out = ""
    for part in path:
        if part.startswith("f:"):
            out += ("." if out else "") + part[2:]
        else:
            pairs = part[3:-1].split(",")
            out += "[" + ",".join(pair.replace('"', "", 2).replace(":", "=", 1) for pair in pairs) + "]"
    return out
