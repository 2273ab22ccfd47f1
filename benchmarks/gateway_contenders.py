"""The proxies that bench_gateway.py compares, each over the same two engines with weights of 95 to 5."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contenders import Contender, free_address, running

ENGINE = Path(__file__).parent / "gateway_engine.py"
GATEWAY = "gateway"
LITELLM_KEY = "sk-bench-0123456789abcdef"


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
def gateway(folder: Path, backends: list[str]) -> Iterator[Contender]:
    """Run the gateway with one worker."""
    raise SystemExit("not yet")
    yield
