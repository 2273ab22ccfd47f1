"""The proxies that bench_gateway.py compares, each over the same two engines with weights of 95 to 5."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from common.contenders import ROOT, Contender, free_address, running

from controlplane.gateway.desired.codec import encode, sealed
from controlplane.gateway.desired.document import (
    BackendSpec,
    Desired,
    KeySpec,
    LimitSpec,
    ModelSpec,
    PriceSpec,
    TenantSpec,
    VersionSpec,
)

ENGINE = Path(__file__).parent / "engine.py"
GATEWAY = "gateway"
KEY_ID, SECRET = "0123456789ab", "b" * 43
TOKEN = f"cpk_{KEY_ID}_{SECRET}"
LITELLM_KEY = "sk-bench-0123456789abcdef"
ROUTER_KEY = "bench"


@contextmanager
def engines(folder: Path) -> Iterator[list[str]]:
    """Run one engine on two addresses' worth of ports; yield the addresses of v1 and v2."""
    addresses = [free_address(), free_address()]
    children = []
    try:
        for address in addresses:
            command = [sys.executable, str(ENGINE), address.rpartition(":")[2]]
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder))
        for child in children:
            assert child.stdout
            child.stdout.readline()
        yield addresses
    finally:
        for child in children:
            child.terminate()
            child.wait()


@contextmanager
def haproxy(folder: Path, backends: list[str]) -> Iterator[Contender]:
    """Run HAProxy with one thread. It passes requests by weight, and checks nothing."""
    folder.mkdir(parents=True)
    address = free_address()
    v1, v2 = backends
    (folder / "haproxy.cfg").write_text(
        "global\n  maxconn 5000\n  nbthread 1\n"
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend llm\n  bind {address}\n  monitor-uri /healthz\n  default_backend chat\n"
        f"backend chat\n  balance roundrobin\n  server v1 {v1} weight 95\n  server v2 {v2} weight 5\n"
    )
    with running("HAProxy", ["haproxy", "-f", "haproxy.cfg", "-db"], folder, address, "/healthz") as contender:
        yield contender


@contextmanager
def litellm(folder: Path, backends: list[str], program: str) -> Iterator[Contender]:
    """Run the LiteLLM proxy with one worker, weights, its master key and its Prometheus metrics."""
    folder.mkdir(parents=True)
    address = free_address()
    models = [
        {
            "model_name": "chat",
            "litellm_params": {
                "model": "openai/chat",
                "api_base": f"http://{backend}/v1",
                "api_key": "none",
                "weight": w,
            },
        }
        for backend, w in zip(backends, (95, 5), strict=True)
    ]
    config = {
        "model_list": models,
        "router_settings": {"routing_strategy": "simple-shuffle", "num_retries": 0},
        "litellm_settings": {"callbacks": ["prometheus"], "telemetry": False},
        "general_settings": {"master_key": LITELLM_KEY},
    }
    (folder / "litellm.json").write_text(json.dumps(config))
    host, _, port = address.rpartition(":")
    command = ["env", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR", program, "--config", "litellm.json"]
    command += ["--host", host, "--port", port, "--num_workers", "1", "--telemetry", "False"]
    with running("LiteLLM", command, folder, address, "/health/liveliness", LITELLM_KEY) as contender:
        yield contender


@contextmanager
def sglang_router(folder: Path, backends: list[str], program: str) -> Iterator[Contender]:
    """Run SGLang's router over workers that speak HTTP, in turn. It checks one key, and counts metrics.

    It has no weights: half of the requests go to each engine.
    """
    folder.mkdir(parents=True)
    address, metrics = free_address(), free_address()
    command = [program, "launch", "--policy", "round_robin", "--log-level", "error", "--api-key", ROUTER_KEY]
    command += ["--worker-urls", *(f"http://{backend}" for backend in backends)]
    for name, value in (("", address), ("prometheus-", metrics)):
        host, _, port = value.rpartition(":")
        command += [f"--{name}host", host, f"--{name}port", port]
    with running("SGLang's router", command, folder, address, "/health", ROUTER_KEY) as contender:
        yield contender


def desired_state(backends: list[str]) -> Desired:
    """Return a desired state with weights of 95 to 5, and limits of a key, its tenant and the model."""
    versions = tuple(
        VersionSpec(name, weight, (BackendSpec(f"http://{backend}", "vllm", "chat"),))
        for name, weight, backend in zip(("v1", "v2"), (950, 50), backends, strict=True)
    )
    limits = LimitSpec(
        requests_per_minute=10_000_000,
        tokens_per_minute=1_000_000_000,
        concurrent=5000,
        monthly_tokens=10**12,
        monthly_usd=1e9,
    )
    model = ModelSpec("chat", 1, versions, limits=limits, price=PriceSpec(1.0, 2.0))
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    key = KeySpec(KEY_ID, digest, "bench", limits=limits)
    return sealed(Desired("", (model,), (key,), (TenantSpec("bench", limits),)))


@contextmanager
def gateway(folder: Path, backends: list[str], workers: int = 1, python: str = sys.executable) -> Iterator[Contender]:
    """Run the gateway with a key, the limits of key, tenant and model, weights, and usage records.

    It starts from the desired state on its disk, as it does when its control plane is away. `python` is the interpreter
    that runs it, with this one's packages.
    """
    data = folder / "data"
    data.mkdir(parents=True, mode=0o700)
    (data / "desired.json").write_bytes(encode(desired_state(backends)))
    listen, admin = free_address(), free_address()
    # Nothing listens at the control plane's address.
    section = {"listen": listen, "admin": admin, "workers": workers, "control_plane": {"url": "http://127.0.0.1:9"}}
    (folder / "fleet.yaml").write_text(json.dumps({"fleet": {"name": "bench"}, "gateway": section}))
    command = [python, "-m", "controlplane", "gateway", "-c", "fleet.yaml", "--data-dir", str(data)]
    if python != sys.executable:
        command = ["env", "PYTHONPATH=" + os.pathsep.join((str(ROOT), sysconfig.get_path("purelib"))), *command]
    with running(GATEWAY, command, folder, admin, "/readyz") as contender:
        yield replace(contender, address=listen, token=TOKEN)
