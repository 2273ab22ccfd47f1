"""The shape of an object's fields: how lists merge, what is filled in, what is refused."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ABSENT: Any = object()


@dataclass(frozen=True)
class Schema:
    """One field. A field of which nothing is declared takes any value, and a list in it is atomic.

    fields: the named fields of a struct, or None for a map with any keys.
    values: the schema of a list's items or of an open map's values.
    keys: the fields that identify an item of an associative list, each with the default of the key.
    is_set: a list of scalars that merges as a set.
    atomic: merged and owned as a whole.
    """

    type: str = ""
    fields: Mapping[str, "Schema"] | None = None
    values: "Schema | None" = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    is_set: bool = False
    atomic: bool = False
    default: Any = ABSENT
    required: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""
    enum: tuple[str, ...] = ()
    most_items: int | None = None

    def child(self, key: str) -> "Schema":
        """Return the schema of a map's key."""
        if self.fields is not None and key in self.fields:
            return self.fields[key]
        return self.values or ANY

    def item_key(self, item: Any) -> str:
        """Return the path element of a list's item, for example 'k:{"name":"vllm"}'."""
        if self.is_set:
            return f"v:{json.dumps(item)}"
        found = {key: item.get(key, default) for key, default in sorted(self.keys.items()) if isinstance(item, dict)}
        return "k:" + json.dumps(
            {key: value for key, value in found.items() if value is not None}, separators=(",", ":")
        )

    @property
    def is_keyed(self) -> bool:
        """Whether a list of this schema merges item by item."""
        return bool(self.keys) or self.is_set


ANY = Schema()
TEXT = Schema("string")
TRUTH = Schema("boolean")
WHOLE = Schema("integer")
OPEN = Schema("object")


def struct(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    """Return the schema of an object with exactly these fields."""
    return Schema("object", fields=fields, required=required)


def listed(items: Schema, most: int | None = None) -> Schema:
    """Return the schema of an atomic list."""
    return Schema("array", values=items, atomic=True, most_items=most)


def keyed(items: Schema, **keys: Any) -> Schema:
    """Return the schema of an associative list. A key without a default has None."""
    return Schema("array", values=items, keys=keys)


METADATA = struct(
    name=TEXT,
    generateName=TEXT,
    namespace=TEXT,
    selfLink=TEXT,
    uid=TEXT,
    resourceVersion=TEXT,
    generation=WHOLE,
    creationTimestamp=ANY,
    deletionTimestamp=ANY,
    deletionGracePeriodSeconds=WHOLE,
    labels=Schema("object", values=TEXT),
    annotations=Schema("object", values=TEXT),
    ownerReferences=keyed(OPEN, uid=None),
    finalizers=Schema("array", values=TEXT, is_set=True),
    managedFields=Schema("array", atomic=True),
)


def filled(value: Any, schema: Schema) -> Any:
    """Return the value with the defaults of its schema filled in."""
    if isinstance(value, dict):
        out = {key: filled(child, schema.child(key)) for key, child in value.items()}
        for key, child in (schema.fields or {}).items():
            if key not in out and child.default is not ABSENT:
                out[key] = filled(json.loads(json.dumps(child.default)), child)
        return out
    if isinstance(value, list):
        return [filled(item, schema.values or ANY) for item in value]
    return value


def pruned(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    """Return the value without fields that its schema does not have, and append their paths to `unknown`."""
    if isinstance(value, dict):
        out = {}
        for key, child in value.items():
            below = f"{path}.{key}" if path else key
            if schema.fields is not None and key not in schema.fields and schema.values is None:
                unknown.append(below)
                continue
            out[key] = pruned(child, schema.child(key), below, unknown)
        return out
    if isinstance(value, list):
        return [pruned(item, schema.values or ANY, f"{path}[{at}]", unknown) for at, item in enumerate(value)]
    return value
