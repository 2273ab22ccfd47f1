"""Paths of an engine's own that a model may list for the gateway, and those that never pass.

A path that administers an engine, or shows other users' requests, never passes, listed or not. Engines name such paths
anew in each release, so the words of their segments are matched, not whole paths. The words are from the OpenAPI
documents of vLLM 0.32 and SGLang 0.5.23, and from the servers' own documentation for the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BELOW = "/*"
"""End of a listed path that stands for all paths below it."""
PLAIN = re.compile(rb"(?:/(?:[A-Za-z0-9_~:@!$&'()*+,=-]|\.(?=[A-Za-z0-9_~-]))+)+")
"""A path that every server reads alike: without percent-encoding, empty or dot segments, parameters (`;`), and dots at
the end of a segment."""
_OF_APIS = (b"/api/", b"/v2/", b"/v1/models/")
"""Below these the gateway knows every path that passes, by the API that it belongs to."""
_VERBS = re.compile(
    rb"(?:add|begin|clear|close|collective|configure|continue|destroy|dump|end|evict|finish|flush|freeze|init|load|open|"
    rb"pause|register|release|remove|reset|resume|send|set|shutdown|start|stop|suspend|terminate|unload|unregister|update|"
    rb"wake)[_-]"
)
"""Begins of segments, such as load_lora_adapter (vLLM, SGLang), update_weights (all), add_worker (routers)."""
_PARTS = re.compile(
    rb"lora|adapter|weight|profil|expert_distribution|internal_state|external_corp|memory_occupation|cache"
)
_WORDS = frozenset(
    (
        # vLLM
        *(
            b"sleep",
            b"pause",
            b"resume",
            b"abort_request",
            b"abort_requests",
            b"is_sleeping",
            b"is_paused",
            b"server_info",
        ),
        *(b"scale_elastic_ep", b"is_scaling_elastic_ep", b"kv_event_sources", b"get_world_size"),
        # SGLang
        *(b"get_server_info", b"slow_down", b"pd_role_switch", b"get_remote_instance_transfer_engine_info"),
        b"remote_instance_transfer_engine_info",
        # LMDeploy
        *(b"wakeup", b"terminate", b"distserve", b"abort"),
        # llama-server: slots hold the prompts of others, tools run commands, and its proxy asks any address
        *(b"slots", b"props", b"tools", b"cors-proxy"),
        # text-generation-webui, LocalAI, and servers that can be ended from outside
        *(b"unload", b"internal", b"apply", b"restart", b"kill", b"exit", b"quit", b"quitquitquit"),
        # routers of several engines
        *(b"workers", b"list_workers"),
        # Triton, under /v2/
        *(b"repository", b"systemsharedmemory", b"cudasharedmemory", b"trace", b"logging"),
        # Ollama, under /api/
        *(b"pull", b"push", b"create", b"copy", b"delete", b"blobs"),
        # all
        *(
            b"metrics",
            b"perf_metrics",
            b"debug",
            b"admin",
            b"shutdown",
            b"load",
            b"reload",
            b"flush",
            b"wake",
            b"reset",
        ),
    )
)
_BETWEEN = re.compile(rb"[^a-z0-9_-]+")
"""Text between two words: `/` and all that servers may cut a segment at, such as `;`, `:`, `.` and space."""


def is_administrative(path: bytes) -> bool:
    """Return whether a path administers an engine. `path` is decoded and has no empty or dot segments."""
    return any(word in _WORDS or _VERBS.match(word) or _PARTS.search(word) for word in _BETWEEN.split(path.lower()))


def fault(listed: str) -> str:
    """Return why a path cannot be listed for the gateway, or "" when it can."""
    path = listed.removesuffix(BELOW).encode()
    if not path:
        return "lists every path of the engine; name the paths that clients need"
    if not PLAIN.fullmatch(path) or b"*" in path:
        sentence = "expected a path such as /custom/predict, or /custom/* for all paths below it"
        return f"{sentence}; without %, ;, //, .. and spaces"
    below = path + b"/"
    if below.startswith(_OF_APIS):
        return "is below /api/, /v2/ or /v1/models/, where the gateway knows every path that passes; remove it"
    if is_administrative(path):
        return "administers the engine, and never passes through the gateway; remove it"
    return ""


def is_listed(path: str, listed: Iterable[str]) -> bool:
    """Return whether one of the listed paths is a path, or stands for the paths above it: `/a/*` for `/a/b` and
    `/a/b/c`, not for `/a`."""
    return any(path.startswith(entry[:-1]) if entry.endswith(BELOW) else path == entry for entry in listed)
