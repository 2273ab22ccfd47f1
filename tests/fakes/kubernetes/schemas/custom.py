"""Schemas of the custom resources, after their CRDs of August 2026."""

from tests.fakes.kubernetes.schemas.schema import ANY, OPEN, TEXT, WHOLE, Schema, keyed, listed, struct

_GROUP = "gateway.networking.k8s.io"
_HOST = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_SPAN = Schema("string", pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")


def _text(default: str) -> Schema:
    return Schema("string", default=default)


_PORT = Schema("integer", minimum=1, maximum=65535)
PARENT_REF = struct(
    ("name",),
    group=_text(_GROUP),
    kind=_text("Gateway"),
    namespace=TEXT,
    name=TEXT,
    sectionName=TEXT,
    port=_PORT,
)
_BACKEND_REF = struct(
    ("name",),
    group=_text(""),
    kind=_text("Service"),
    name=TEXT,
    namespace=TEXT,
    port=_PORT,
    weight=Schema("integer", default=1, minimum=0, maximum=1000000),
    filters=listed(OPEN),
)
_MATCH = struct(
    path=Schema(
        "object",
        fields={"type": _text("PathPrefix"), "value": _text("/")},
        default={"type": "PathPrefix", "value": "/"},
    ),
    headers=keyed(OPEN, name=None),
    queryParams=keyed(OPEN, name=None),
    method=TEXT,
)
_RULE = struct(
    name=TEXT,
    matches=Schema(
        "array", values=_MATCH, atomic=True, default=[{"path": {"type": "PathPrefix", "value": "/"}}], most_items=64
    ),
    filters=listed(OPEN, 16),
    backendRefs=listed(_BACKEND_REF, 16),
    timeouts=struct(request=_SPAN, backendRequest=_SPAN),
    retry=OPEN,
    sessionPersistence=OPEN,
)
CONDITION = struct(
    ("lastTransitionTime", "message", "reason", "status", "type"),
    type=TEXT,
    status=Schema("string", enum=("True", "False", "Unknown")),
    reason=TEXT,
    message=TEXT,
    observedGeneration=Schema("integer", minimum=0),
    lastTransitionTime=TEXT,
)
HTTP_ROUTE = struct(
    spec=struct(
        parentRefs=listed(PARENT_REF, 32),
        useDefaultGateways=TEXT,
        hostnames=listed(Schema("string", pattern=_HOST), 16),
        rules=listed(_RULE, 16),
    ),
    status=struct(
        ("parents",),
        parents=listed(
            struct(
                ("conditions", "controllerName", "parentRef"),
                parentRef=PARENT_REF,
                controllerName=TEXT,
                conditions=keyed(CONDITION, type=None),
            ),
            32,
        ),
    ),
)

_WAITING = {
    "lastTransitionTime": "1970-01-01T00:00:00Z",
    "message": "Waiting for controller",
    "reason": "Pending",
    "status": "Unknown",
}
_LISTENER = struct(
    ("name", "port", "protocol"),
    name=TEXT,
    hostname=TEXT,
    port=_PORT,
    protocol=TEXT,
    tls=OPEN,
    allowedRoutes=Schema(
        "object",
        fields={
            "kinds": listed(OPEN),
            "namespaces": Schema("object", fields={"from": _text("Same"), "selector": OPEN}, default={"from": "Same"}),
        },
        default={"namespaces": {"from": "Same"}},
    ),
)
GATEWAY = struct(
    spec=struct(
        ("gatewayClassName", "listeners"),
        gatewayClassName=TEXT,
        listeners=keyed(_LISTENER, name=None),
        addresses=listed(OPEN),
        infrastructure=OPEN,
        allowedListeners=OPEN,
        tls=OPEN,
    ),
    status=Schema(
        "object",
        fields={"conditions": keyed(CONDITION, type=None), "listeners": keyed(OPEN, name=None), "addresses": ANY},
        default={"conditions": [_WAITING | {"type": "Accepted"}, _WAITING | {"type": "Programmed"}]},
    ),
)

INFERENCE_POOL = struct(
    spec=struct(
        ("selector", "targetPorts"),
        appProtocol=_text("http"),
        selector=struct(("matchLabels",), matchLabels=Schema("object", values=TEXT)),
        targetPorts=listed(struct(("number",), number=_PORT), 8),
        endpointPickerRef=struct(
            ("name",),
            group=_text(""),
            kind=_text("Service"),
            name=TEXT,
            port=struct(("number",), number=_PORT),
            failureMode=_text("FailClose"),
        ),
    ),
    status=OPEN,
)

LLM_SERVICE = struct(
    spec=Schema(
        "object",
        fields={
            "replicas": WHOLE,
            "router": Schema(
                "object",
                fields={"route": Schema("object", fields={"weight": Schema("integer", minimum=0)}, values=ANY)},
                values=ANY,
            ),
        },
        values=ANY,
    ),
    status=OPEN,
)

_PREDICTOR = Schema(
    "object", fields={"canaryTrafficPercent": WHOLE, "minReplicas": WHOLE, "maxReplicas": WHOLE}, values=ANY
)
INFERENCE_SERVICE = struct(
    spec=Schema("object", fields={"predictor": _PREDICTOR}, values=ANY, required=("predictor",)),
    status=OPEN,
)
"""The CRD of KServe bounds no share of traffic: 101 is stored."""
