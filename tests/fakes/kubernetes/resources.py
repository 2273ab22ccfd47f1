"""The writes: create, update, patch and delete, with their preconditions and no-op rules."""

import copy
import json
from typing import Any, NamedTuple

from tests.fakes.kubernetes import managers, micro_time, patches, validation
from tests.fakes.kubernetes.bodies import APPLY, JSON_PATCH, MERGE_PATCH, Options
from tests.fakes.kubernetes.defaults import defaulted
from tests.fakes.kubernetes.errors import ApiError, Cause, already_exists, bad_request, conflict, invalid, not_found
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.managers import Manager
from tests.fakes.kubernetes.schemas.schema import pruned
from tests.fakes.kubernetes.store import Given, Key, Store

Json = dict[str, Any]

KEPT = ("name", "namespace", "uid", "creationTimestamp", "generation", "generateName", "deletionTimestamp",
        "deletionGracePeriodSeconds", "selfLink")  # fmt: skip
"""Metadata that an update cannot change."""


class Answer(NamedTuple):
    """What a write answers. `object` is a resource or a Status."""

    code: int
    object: Json
    warnings: tuple[str, ...] = ()


class Resources:
    """Writes to a store."""

    def __init__(self, store: Store, given: Given) -> None:
        self.store, self.given = store, given

    def get(self, kind: Kind, key: Key) -> Json:
        """Return an object. Raises ApiError 404."""
        found = self.store.get(key)
        if found is None:
            raise not_found(kind.plural, kind.group, key.name)
        return found

    def create(self, kind: Kind, namespace: str, body: Json, options: Options, name: str = "") -> Answer:
        """Create the object of a body, which apply also does for a name that is not there yet."""
        self._check_namespace(kind, namespace, body)
        wanted = copy.deepcopy(body)
        metadata = wanted.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self.given.suffix()
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
            metadata.pop(field, None)
        key = Key(kind.group, kind.plural, namespace, metadata.get("name", ""))
        if namespace:
            metadata["namespace"] = namespace
            if Key("", "namespaces", "", namespace) not in self.store.objects:
                raise not_found("namespaces", "", namespace)
        if "status" in kind.subresources:
            wanted.pop("status", None)
        unknown: list[str] = []
        wanted = _timed(pruned(wanted, kind.whole, "", unknown), kind)
        told = [f'unknown field "{path}"' for path in unknown] + [
            f'duplicate field "{path}"' for path in options.doubled
        ]
        warnings = _judge_unknown(told, options, kind, kind.versions[0])
        wanted = defaulted({"apiVersion": kind.api_version, "kind": kind.kind} | wanted, kind)
        validation.check(wanted, None, kind)
        if key in self.store.objects:
            raise already_exists(kind.plural, kind.group, key.name)
        if not options.applies:
            owned = copy.deepcopy(wanted)
            if "status" in kind.subresources:
                owned.pop("status", None)
            managers.updated(_shell(kind), owned, kind.whole, _by(options, kind), self.given.now())
            wanted["metadata"] = owned["metadata"]
        else:
            config = {key: value for key, value in body.items() if key != "status"}
            first = managers.applied(_shell(kind), config, kind.whole, _by(options, kind), self.given.now(), True)
            wanted["metadata"]["managedFields"] = first["metadata"].get("managedFields", [])
        self._begin(wanted, kind)
        if options.dry_run:
            return Answer(201, wanted, warnings)
        return Answer(201, self.store.put(key, wanted), warnings)

    def replace(self, kind: Kind, key: Key, body: Json, subresource: str, options: Options) -> Answer:
        """Replace an object by a body (PUT)."""
        self._check_namespace(kind, key.namespace, body)
        metadata = body.get("metadata", {})
        named = metadata.get("name", "")
        if named != key.name:
            told = f"the name of the object ({named}) does not match the name on the URL ({key.name})"
            raise bad_request("name must be provided" if not named else told)
        before = self.store.get(key)
        uid = metadata.get("uid", "")
        if before is None and not (uid and kind.kind == "Lease"):
            raise not_found(kind.plural, kind.group, key.name)
        if uid and (before is None or before["metadata"]["uid"] != uid):
            raise _wrong_uid(kind, key, uid, before)
        assert before is not None
        if not metadata.get("resourceVersion") and not kind.spared:
            cause = Cause.invalid("metadata.resourceVersion", "0: must be specified for an update")
            raise invalid(kind.plural, kind.group, key.name, [cause])
        return self.update(kind, key, before, body, subresource, options)

    def patch(self, kind: Kind, key: Key, media: str, patch: Any, subresource: str, options: Options) -> Answer:
        """Patch an object. Raises ApiError 404, 409 or 422."""
        if media == APPLY:
            return self.apply(kind, key, patch, subresource, options)
        before = self.get(kind, key)
        if media == JSON_PATCH:
            after = patches.json_patched(before, patch)
        elif media == MERGE_PATCH:
            after = patches.merged(before, patch)
        else:
            after = patches.strategic(before, patch, kind.whole)
        return self.update(kind, key, before, after, subresource, options, patched=True)

    def apply(self, kind: Kind, key: Key, config: Json, subresource: str, options: Options) -> Answer:
        """Apply a configuration, or create the object that it describes."""
        if not options.manager:
            cause = Cause.required("fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        metadata = config.get("metadata") or {}
        if "managedFields" in metadata:
            raise bad_request("metadata.managedFields must be nil")
        if metadata.get("name", key.name) != key.name:
            told = f"the name of the object ({metadata['name']}) does not match the name on the URL ({key.name})"
            raise bad_request(told)
        before = self.store.get(key)
        if before is None:
            created = copy.deepcopy(config)
            created.setdefault("metadata", {})["name"] = key.name
            return self.create(kind, key.namespace, created, options._replace(applies=True))
        by = _by(options, kind, subresource)
        wanted = _of_subresource(config, kind, subresource)
        after = managers.applied(before, wanted, kind.whole, by, self.given.now(), options.force)
        return self.update(kind, key, before, after, subresource, options, patched=True, owned=True)

    def update(self, kind: Kind, key: Key, before: Json, wanted: Json, subresource: str, options: Options,
               *, patched: bool = False, owned: bool = False) -> Answer:  # fmt: skip
        """Write a changed object. A change of nothing keeps the resourceVersion and makes no event."""
        version = wanted.get("metadata", {}).get("resourceVersion")
        if version and version != before["metadata"]["resourceVersion"]:
            raise conflict(kind.plural, kind.group, key.name)
        unknown: list[str] = []
        after = pruned(copy.deepcopy(wanted), kind.whole, "", unknown)
        told = [f'unknown field "{path}"' for path in unknown] + [
            f'duplicate field "{path}"' for path in options.doubled
        ]
        if patched and told and options.validation == "Strict":
            raise _refused_patch(wanted, f"strict decoding error: {', '.join(told)}")
        if kind.kind == "Lease" and patched and (problem := micro_time.problem(after.get("spec", {}))):
            raise _refused_patch(wanted, problem)
        after = _timed(after, kind)
        warnings = _judge_unknown(told, options, kind, kind.versions[0])
        after = defaulted(_kept(before, after, kind, subresource), kind)
        validation.check(after, before, kind)
        if kind.generations and subresource != "status" and _spec(before) != _spec(after):
            after["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1
        if not owned:
            after["metadata"]["managedFields"] = before["metadata"].get("managedFields", [])
            managers.updated(before, after, kind.whole, _by(options, kind, subresource), self.given.now())
        after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if _timeless(after) == _timeless(before):
            return Answer(200, before, warnings)
        if options.dry_run:
            return Answer(200, after, warnings)
        if after["metadata"].get("deletionTimestamp") and not after["metadata"].get("finalizers"):
            return Answer(200, self.store.remove(key), warnings)
        return Answer(200, self.store.put(key, after), warnings)

    def delete(self, kind: Kind, key: Key, wish: Json, dry_run: bool = False) -> Answer:
        """Delete an object. With finalizers, or in the foreground, it only gets a deletionTimestamp."""
        found = self.get(kind, key)
        metadata = found["metadata"]
        _check_preconditions(found, wish.get("preconditions") or {}, kind)
        if wish.get("propagationPolicy") == "Foreground":
            metadata.setdefault("finalizers", []).append("foregroundDeletion")
        if metadata.get("finalizers"):
            metadata.setdefault("deletionTimestamp", self.given.now())
            metadata.setdefault("deletionGracePeriodSeconds", 0)
            if kind.generations:
                metadata["generation"] = metadata.get("generation", 0) + 1
            return Answer(200, found if dry_run else self.store.put(key, found))
        last = found if dry_run else self.store.remove(key)
        if kind.answers_object:
            return Answer(200, last)
        details = {"name": key.name, "group": kind.group, "kind": kind.plural, "uid": metadata["uid"]}
        told = {name: value for name, value in details.items() if value}
        return Answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": told})

    def _begin(self, found: Json, kind: Kind) -> None:
        metadata = found["metadata"]
        metadata["uid"] = self.given.uid()
        metadata["creationTimestamp"] = self.given.now()
        if kind.generations:
            metadata["generation"] = 1
        if kind.kind == "Namespace":
            found["spec"].setdefault("finalizers", ["kubernetes"])
        if kind.kind == "Service" and found["spec"]["type"] != "ExternalName":
            address = found["spec"].setdefault("clusterIP", self.given.cluster_ip())
            found["spec"].setdefault("clusterIPs", [address])
            found["spec"].setdefault("ipFamilies", ["IPv4"])
            found["spec"].setdefault("ipFamilyPolicy", "SingleStack")

    def _check_namespace(self, kind: Kind, namespace: str, body: Json) -> None:
        given = (body.get("metadata") or {}).get("namespace", namespace)
        if kind.namespaced and given != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def _by(options: Options, kind: Kind, subresource: str = "") -> Manager:
    return Manager(options.manager, "Apply" if options.applies else "Update", kind.api_version, subresource)


def _shell(kind: Kind) -> Json:
    return copy.deepcopy(kind.shell)


def _spec(found: Json) -> Json:
    return {key: value for key, value in found.items() if key not in ("metadata", "status", "apiVersion", "kind")}


def _timeless(found: Json) -> Json:
    out = copy.deepcopy(found)
    for entry in out["metadata"].get("managedFields", []):
        entry.pop("time", None)
    return out


def _of_subresource(config: Json, kind: Kind, subresource: str) -> Json:
    if subresource == "status":
        return {key: value for key, value in config.items() if key in ("metadata", "status")}
    return {key: value for key, value in config.items() if key != "status" or "status" not in kind.subresources}


def _kept(before: Json, after: Json, kind: Kind, subresource: str) -> Json:
    """Return `after` with everything from `before` that the request cannot change."""
    out = (
        dict(after)
        if subresource != "status"
        else dict(before) | {key: after[key] for key in ("status", "metadata") if key in after}
    )
    if subresource == "status":
        if "status" not in after:
            out.pop("status", None)
        metadata = dict(before["metadata"]) | {"managedFields": after["metadata"].get("managedFields", [])}
    else:
        metadata = {key: value for key, value in after.get("metadata", {}).items() if key not in KEPT}
        metadata |= {key: before["metadata"][key] for key in KEPT if key in before["metadata"]}
        if "status" in kind.subresources:
            out.pop("status", None)
            if "status" in before:
                out["status"] = before["status"]
    out["metadata"] = metadata
    out["apiVersion"], out["kind"] = kind.api_version, kind.kind
    if kind.kind == "Service" and subresource == "":
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if name in before["spec"]:
                out["spec"] = {name: before["spec"][name]} | out.get("spec", {})
    return copy.deepcopy(out)


def _judge_unknown(told: list[str], options: Options, kind: Kind, version: str) -> tuple[str, ...]:
    if told and options.validation == "Strict":
        problem = f"strict decoding error: {', '.join(told)}"
        raise bad_request(f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}: {problem}')
    return tuple(told) if options.validation == "Warn" else ()


def _timed(found: Json, kind: Kind) -> Json:
    if kind.kind != "Lease" or "spec" not in found:
        return found
    if problem := micro_time.problem(found["spec"]):
        version = kind.versions[0]
        raise bad_request(f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}: {problem}')
    return found | {"spec": micro_time.in_utc(found["spec"])}


_ORDER = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "labels",
          "annotations", "ownerReferences", "finalizers", "managedFields")  # fmt: skip


def _refused_patch(wanted: Json, problem: str) -> ApiError:
    """Return the 422 of a patch whose outcome cannot be read. Its message holds the whole object."""
    custom = "." in wanted["apiVersion"].partition("/")[0].removesuffix(".k8s.io")
    out = json.loads(json.dumps(wanted, sort_keys=True))
    if not custom:
        held = wanted["metadata"]
        out["metadata"] = {key: held[key] for key in _ORDER if key in held}
    text = json.dumps(json.dumps(out, separators=(",", ":")))
    return invalid("", "", "", [Cause.invalid("patch", f"{text}: {problem}")])


def _wrong_uid(kind: Kind, key: Key, uid: str, before: Json | None) -> ApiError:
    held = before["metadata"]["uid"] if before is not None else ""
    path = f"/registry/{kind.plural}/{key.namespace}/{key.name}"
    why = (
        f"StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition "
        f"failed: UID in precondition: {uid}, UID in object meta: {held}"
    )
    return conflict(kind.plural, kind.group, key.name, why)


def _check_preconditions(found: Json, wanted: Json, kind: Kind) -> None:
    held = found["metadata"]
    for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(field) and wanted[field] != held[field]:
            why = (
                f"the {name} in the precondition ({wanted[field]}) does not match the {name} in record "
                f"({held[field]}). The object might have been deleted and then recreated"
            )
            raise conflict(kind.kind, kind.group, held["name"], why)
