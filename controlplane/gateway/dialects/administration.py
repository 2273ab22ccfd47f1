"""Paths that administer an engine or show other users' requests. They never pass through the gateway.

Engines name such paths anew in each release, so the words of their segments are matched, not whole paths. The words are
from the OpenAPI documents of vLLM 0.32 and SGLang 0.5.23, and from the servers' own documentation for the others.
"""

from __future__ import annotations

import re

MESSAGE = (
    "This path administers the engine, so it does not pass through the gateway. Call the engine's own address, or let "
    "the control plane do it."
)
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
        *(b"metrics", b"perf_metrics", b"debug", b"admin", b"shutdown"),
    )
)
_LOADING = re.compile(rb"/models?/load(?:/|$)")
"""llama-server with several models, TabbyAPI. `/load` alone shows how much vLLM has to do."""
_BEHIND = re.compile(rb"[; ]")
"""What follows in a segment is dropped by some servers: path parameters, and space."""


def is_administrative(path: bytes) -> bool:
    """Return whether a path administers an engine. `path` is decoded and has no empty or dot segments."""
    lower = path.lower()
    segments = [_BEHIND.split(segment, maxsplit=1)[0] for segment in lower.split(b"/")]
    return bool(_LOADING.search(b"/".join(segments))) or any(
        segment in _WORDS or _VERBS.match(segment) or _PARTS.search(segment) for segment in segments
    )
