"""The scale of a workload: a view of its replicas under its own kind."""

from typing import Any

from tests.fakes.kubernetes import managers, patches
from tests.fakes.kubernetes.bodies import APPLY, JSON_PATCH, Options
from tests.fakes.kubernetes.errors import ApiError, Cause, conflict, invalid
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.managers import Manager, Owned
from tests.fakes.kubernetes.resources import Answer, Resources
from tests.fakes.kubernetes.schemas.schema import ANY
from tests.fakes.kubernetes.store import Key

Json = dict[str, Any]

_REPLICAS = ("f:spec", "f:replicas")
API_VERSION = "autoscaling/v1"


def view(found: Json) -> Json:
    """Return the Scale of a workload. Zero replicas are absent, as in the real answer."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = found["spec"].get("selector", {}).get("matchLabels", {})
    wanted = found["spec"].get("replicas", 0)
    status = {"replicas": found.get("status", {}).get("replicas", 0)}
    if labels:
        status["selector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return {
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": {key: found["metadata"][key] for key in kept if key in found["metadata"]},
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }


def write(resources: Resources, kind: Kind, key: Key, media: str, body: Any, options: Options) -> Answer:
    """Change the replicas by an update (media "") or a patch of the Scale."""
    before = resources.get(kind, key)
    shown = view(before)
    if media == APPLY:
        _check_owners(before, options, body)
        after = patches.merged(shown, body)
    elif media == "":
        after = body
    elif media == JSON_PATCH:
        after = patches.json_patched(shown, body)
    else:
        after = patches.merged(shown, body)
    version = (after.get("metadata") or {}).get("resourceVersion")
    if version and version != before["metadata"]["resourceVersion"]:
        raise conflict(kind.plural, kind.group, key.name)
    replicas = (after.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise ApiError(400, "BadRequest", f"replicas must be a number, not {replicas!r}")
    if replicas < 0:
        cause = Cause.invalid("spec.replicas", f"{replicas}: must be greater than or equal to 0")
        raise invalid("Scale", "autoscaling", key.name, [cause])
    wanted = before | {"spec": before["spec"] | {"replicas": replicas}}
    answer = resources.update(kind, key, before, wanted, "scale", options)
    return answer._replace(object=view(answer.object))


def _check_owners(before: Json, options: Options, config: Json) -> None:
    """Raise the 409 of an apply to the scale, which names managers under the version of the Scale."""
    held = {
        Manager(manager.name, manager.operation, API_VERSION, manager.subresource): Owned(frozenset({_REPLICAS}), "")
        for manager, owned in managers.read(before).items()
        if _REPLICAS in owned.paths
    }
    scale: Json = {"metadata": {}, "spec": {"replicas": before["spec"].get("replicas", 0)}}
    managers.write(scale, held)
    by = Manager(options.manager, "Apply", API_VERSION, "scale")
    managers.applied(scale, config, ANY, by, "", options.force)
