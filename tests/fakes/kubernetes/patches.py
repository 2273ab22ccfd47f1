"""The three patches: JSON patch, merge patch and strategic merge patch. Each returns a new object."""

import copy
from typing import Any

from tests.fakes.kubernetes.errors import ApiError, bad_request
from tests.fakes.kubernetes.schemas.schema import ANY, Schema

Json = dict[str, Any]


def refused() -> ApiError:
    """Return the 422 of a JSON patch that cannot be done. It names neither the operation nor the path."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def merged(target: Any, patch: Any) -> Any:
    """Return the target with a merge patch (RFC 7386): null removes a key, a list replaces a list."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    out = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def strategic(target: Any, patch: Any, schema: Schema) -> Any:
    """Return the target with a strategic merge patch: associative lists merge item by item."""
    if isinstance(patch, dict):
        if patch.get("$patch") == "replace":
            return {key: value for key, value in patch.items() if key != "$patch"}
        out = copy.deepcopy(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if key.startswith("$"):
                continue
            if value is None:
                out.pop(key, None)
            else:
                out[key] = strategic(out.get(key), value, schema.child(key))
        return out
    if isinstance(patch, list) and schema.is_set:
        held = list(target or [])
        return held + [item for item in patch if item not in held]
    if isinstance(patch, list) and schema.keys and isinstance(target, list):
        return _merged_list(target, patch, schema)
    return copy.deepcopy(patch)


def _merged_list(target: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    name = next(iter(schema.keys))
    items, out = schema.values or ANY, copy.deepcopy(target)
    for item in patch:
        if not isinstance(item, dict) or name not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {name}")
        at = next((at for at, held in enumerate(out) if held.get(name) == item[name]), None)
        if item.get("$patch") == "delete":
            out = [held for held in out if held.get(name) != item[name]]
        elif at is None:
            out.insert(0, strategic({}, item, items))
        else:
            out[at] = strategic(out[at], item, items)
    return out


def json_patched(target: Json, operations: list[Json]) -> Json:
    """Return the target with a JSON patch (RFC 6902).

    As in the library of kube-apiserver, `replace` of a missing key of a map adds it.
    Raises ApiError 422 for an operation that cannot be done.
    """
    out = {"": copy.deepcopy(target)}
    for operation in operations:
        try:
            _operate(out, operation)
        except (KeyError, IndexError, ValueError, TypeError) as why:
            raise refused() from why
    return out[""]


def _operate(root: Json, operation: Json) -> None:
    name, path = operation["op"], operation["path"]
    if name in ("add", "replace"):
        _write(root, path, copy.deepcopy(operation["value"]), inserting=name == "add")
    elif name == "remove":
        _take(root, path)
    elif name == "test":
        parent, last = _parent(root, path)
        held = parent.get(last) if isinstance(parent, dict) else parent[int(last)]
        if held != operation.get("value"):
            raise ValueError(f"{path} is not {operation.get('value')!r}")
    elif name in ("copy", "move"):
        parent, last = _parent(root, operation["from"])
        value = copy.deepcopy(parent[last] if isinstance(parent, dict) else parent[int(last)])
        if name == "move":
            _take(root, operation["from"])
        _write(root, path, value, inserting=True)
    else:
        raise ValueError(f"unknown operation {name!r}")


def _parent(root: Json, path: str) -> tuple[Any, str]:
    *parts, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    held: Any = root
    for part in parts:
        held = held[part] if isinstance(held, dict) else held[int(part)]
    if not isinstance(held, dict | list):
        raise TypeError(f"{path} is in no map or list")
    return held, last


def _write(root: Json, path: str, value: Any, inserting: bool) -> None:
    parent, last = _parent(root, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif not inserting:
        parent[int(last)] = value
    elif last == "-":
        parent.append(value)
    else:
        at = int(last)
        if not 0 <= at <= len(parent):
            raise IndexError(path)
        parent.insert(at, value)


def _take(root: Json, path: str) -> None:
    parent, last = _parent(root, path)
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[int(last)]
