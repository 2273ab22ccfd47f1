"""Edits of fleet.yaml for the reload test: every field of the drivers of proxies, scripts and vLLM."""

from __future__ import annotations

from typing import Any

Edit = tuple[str, tuple[str | int, ...], Any]
_TRAFFIC, _MODEL = ("models", 2, "traffic"), ("models", 0)
_HAPROXY: dict[str, Any] = {"driver": "haproxy", "instances": [{"socket": "/run/h.sock"}]}
_NGINX: dict[str, Any] = {"driver": "nginx", "include": "/etc/nginx/chat.conf"}
_ENVOY: dict[str, Any] = {"driver": "envoy", "instances": [{"admin": "http://127.0.0.1:9901", "routes": "/r.yaml"}]}
_CLUSTER: dict[str, Any] = {"driver": "kubernetes", "http_route": {"name": "chat"}}
_SELECTED: dict[str, Any] = {"driver": "kubernetes", "service": {"name": "chat"}}
_CANARY: dict[str, Any] = {
    "driver": "kubernetes",
    "inference_service": {"name": "c", "models": {"v1": "s1", "v2": "s2"}},
}
_SCRIPT: dict[str, Any] = {"driver": "exec", "command": ["/opt/switch.py"]}
_VLLM: dict[str, Any] = {
    "driver": "vllm",
    "backends": [{"url": "http://127.0.0.1:3"}],
    "adapters": {"v1": "/a/1", "v2": "/a/2"},
}


def _instance(of: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**of, "instances": [{**of["instances"][0], **fields}]}


_BY_FIELD: dict[str, dict[str, Any]] = {
    "driver": _HAPROXY,
    "instances[].socket": _instance(_HAPROXY, socket="127.0.0.1:9999"),
    "instances[].config": _instance(_HAPROXY, config="/etc/haproxy/haproxy.cfg"),
    "backend": {**_HAPROXY, "backend": "be"},
    "servers": {**_HAPROXY, "servers": {"v1": ["a"], "v2": ["b"]}},
    "include": _NGINX,
    "upstream": {**_NGINX, "upstream": "up"},
    "sticky": {**_NGINX, "sticky": "$http_x_session_id"},
    "options": {**_NGINX, "options": ["keepalive 32"]},
    "access_log": {**_NGINX, "access_log": "/var/log/nginx/chat.log"},
    "program": {**_NGINX, "program": "/opt/nginx"},
    "config": {**_NGINX, "config": "/etc/nginx/other.conf"},
    "pid_file": {**_NGINX, "pid_file": "/run/other.pid"},
    "reload": {**_NGINX, "reload": ["/bin/reload"]},
    "instances[].admin": _instance(_ENVOY, admin="http://127.0.0.1:9902"),
    "instances[].routes": _instance(_ENVOY, routes="/other.yaml"),
    "instances[].authorization": _instance(_ENVOY, authorization={"credentials_file": "/k1"}),
    "instances[].basic_auth": _instance(_ENVOY, basic_auth={"username": "u", "password_file": "/p1"}),
    "instances[].tls": _instance(_ENVOY, tls={"insecure_skip_verify": True}),
    "clusters": {**_ENVOY, "clusters": {"v1": "one", "v2": "two"}},
    "namespace": {**_CLUSTER, "namespace": "llm"},
    "http_route": _CLUSTER,
    "http_route.name": {**_CLUSTER, "http_route": {"name": "other"}},
    "http_route.rule": {**_CLUSTER, "http_route": {"name": "chat", "rule": "main"}},
    "http_route.pools": {**_CLUSTER, "http_route": {"name": "chat", "pools": {"v1": "p1", "v2": "p2"}}},
    "service": _SELECTED,
    "service.name": {**_SELECTED, "service": {"name": "other"}},
    "service.selectors": {**_SELECTED, "service": {"name": "chat", "selectors": {"v1": {"track": "old"}}}},
    "llm_inference_services": {"driver": "kubernetes", "llm_inference_services": {"v1": "chat-v1", "v2": "chat-v2"}},
    "inference_service": _CANARY,
    "inference_service.name": {**_CANARY, "inference_service": {**_CANARY["inference_service"], "name": "d"}},
    "inference_service.models": {
        **_CANARY,
        "inference_service": {"name": "c", "models": {"v1": "s1", "v2": "s3"}},
    },
    "services": {**_CLUSTER, "services": {"v1": "one", "v2": "two"}},
    "kubeconfig": {**_CLUSTER, "kubeconfig": "/etc/kubeconfig"},
    "context": {**_CLUSTER, "context": "prod"},
    "command": _SCRIPT,
    "timeout": {**_SCRIPT, "timeout": "9s"},
    "environment": {**_SCRIPT, "environment": ["HOME"]},
    "weights": {**_SCRIPT, "weights": True},
}
DRIVER_EDITS: list[Edit] = [
    *((f"models[].traffic.{field}", _TRAFFIC, traffic) for field, traffic in _BY_FIELD.items()),
    (
        "models[].traffic.adapters",
        _MODEL,
        {"name": "ranker", "stable": "v1", "traffic": _VLLM, "versions": {"v1": {}, "v2": {}}},
    ),
]
"""(field, place in the fleet, new value)."""
