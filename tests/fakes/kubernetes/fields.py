"""Sets of field paths, as managedFields writes them, and what changed between two objects."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.fakes.kubernetes.schemas.schema import ANY, Schema

Json = dict[str, Any]
Path = tuple[str, ...]
Paths = frozenset[Path]

UNOWNED = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
           "generateName", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")  # fmt: skip
"""Fields of metadata that no manager owns."""


class Change(NamedTuple):
    """The paths that differ between two objects."""

    added: Paths
    modified: Paths
    removed: Paths


def owned_part(found: Json) -> Json:
    """Return the part of an object that managers can own."""
    out = {key: value for key, value in found.items() if key not in ("apiVersion", "kind")}
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key not in UNOWNED}
    return out | {"metadata": metadata}


def encoded(paths: Iterable[Path]) -> Json:
    """Return the paths as a FieldsV1 object. A member with members below it has the key "."."""
    out: Json = {}
    held = set(paths)
    for path in sorted(held):
        at = out
        for part in path:
            at = at.setdefault(part, {})
    for path in held:
        at = out
        for part in path:
            at = at[part]
        if at:
            at["."] = {}
    return out


def decoded(fields: Json, at: Path = ()) -> Paths:
    """Return the paths of a FieldsV1 object."""
    found: set[Path] = set()
    for part, below in fields.items():
        if part == ".":
            found.add(at)
        elif not below:
            found.add((*at, part))
        else:
            found |= decoded(below, (*at, part))
    return frozenset(found)


def applied_paths(value: Any, schema: Schema, at: Path = ()) -> Paths:
    """Return the paths that an applied object owns: its leaves, the items of associative lists, its map keys."""
    if not at:
        value = {key: child for key, child in value.items() if child or key != "metadata"}
    if isinstance(value, dict) and value and not schema.atomic:
        found: set[Path] = set()
        for key, child in value.items():
            found |= applied_paths(child, schema.child(key), (*at, f"f:{key}"))
        return frozenset(found)
    if isinstance(value, list) and value and schema.is_keyed:
        found = set()
        for item in value:
            path = (*at, schema.item_key(item))
            found |= {path} | applied_paths(item, schema.values or ANY, path)
        return frozenset(found)
    return frozenset({at}) if at else frozenset()


def all_paths(value: Any, schema: Schema, at: Path) -> Paths:
    """Return every path in a value, with those of its maps and lists themselves."""
    found = {at}
    if isinstance(value, dict) and not schema.atomic:
        for key, child in value.items():
            found |= all_paths(child, schema.child(key), (*at, f"f:{key}"))
    elif isinstance(value, list) and schema.is_keyed:
        for item in value:
            found |= all_paths(item, schema.values or ANY, (*at, schema.item_key(item)))
    return frozenset(found)


def compared(before: Json, after: Json, schema: Schema) -> Change:
    """Return what changed."""
    added: set[Path] = set()
    modified: set[Path] = set()
    removed: set[Path] = set()
    _compare(before, after, schema, (), (added, modified, removed))
    return Change(frozenset(added), frozenset(modified), frozenset(removed))


def _compare(before: Any, after: Any, schema: Schema, at: Path, into: tuple[set[Path], set[Path], set[Path]]) -> None:
    added, modified, removed = into
    if isinstance(before, dict) and isinstance(after, dict) and not schema.atomic:
        for key in before.keys() | after.keys():
            path, child = (*at, f"f:{key}"), schema.child(key)
            if key not in before:
                added |= all_paths(after[key], child, path)
            elif key not in after:
                removed |= all_paths(before[key], child, path)
            else:
                _compare(before[key], after[key], child, path, into)
    elif schema.is_keyed and isinstance(before or [], list) and isinstance(after or [], list):
        items = schema.values or ANY
        old = {schema.item_key(item): item for item in before or []}
        new = {schema.item_key(item): item for item in after or []}
        for key in old.keys() | new.keys():
            if key not in old:
                added |= all_paths(new[key], items, (*at, key))
            elif key not in new:
                removed |= all_paths(old[key], items, (*at, key))
            else:
                _compare(old[key], new[key], items, (*at, key), into)
    elif before != after:
        modified.add(at)
