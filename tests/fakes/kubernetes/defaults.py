"""Defaults of the built-in kinds, which the typed API fills in before it stores an object."""

from typing import Any

from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.schemas.schema import filled

Json = dict[str, Any]


def defaulted(found: Json, kind: Kind) -> Json:
    """Return the object with the defaults of its kind."""
    out: Json = filled(found, kind.whole)
    if not kind.custom:
        for part, empty in kind.shell.items():
            if out.get(part) is None:
                out[part] = {} if isinstance(empty, dict) else empty
        _BUILTIN.get(kind.kind, lambda _: None)(out)
    return out


def _service(found: Json) -> None:
    spec = found["spec"]
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    found["status"].setdefault("loadBalancer", {})


def _pod_spec(spec: Json) -> None:
    for container in spec.get("containers", []):
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")
        for name in ("readinessProbe", "livenessProbe", "startupProbe"):
            if name in container:
                _probe(container[name])
        tag = container.get("image", "").rpartition("/")[2].partition(":")[2]
        container.setdefault("imagePullPolicy", "IfNotPresent" if tag not in ("", "latest") else "Always")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")


def _probe(probe: Json) -> None:
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)


def _deployment(found: Json) -> None:
    spec = found["spec"]
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {"maxUnavailable": "25%", "maxSurge": "25%"})
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _pod(found: Json) -> None:
    spec = found["spec"]
    _pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("priority", 0)
    found["status"].setdefault("phase", "Pending")
    found["status"].setdefault("qosClass", "BestEffort")


def _namespace(found: Json) -> None:
    found["metadata"].setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", found["metadata"]["name"])
    found["status"].setdefault("phase", "Active")


def _slice(found: Json) -> None:
    found.setdefault("endpoints", None)
    found.setdefault("ports", None)


_BUILTIN = {
    "Service": _service,
    "Deployment": _deployment,
    "Pod": _pod,
    "Namespace": _namespace,
    "EndpointSlice": _slice,
}
