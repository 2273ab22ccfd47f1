"""The demo's fleet.yaml: a small, commented example of a real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the demo's parts."""

    vllm_v1: int
    vllm_v2: int
    dcgm: int
    admin: int
    load_stats: int
    gateway: int
    gateway_admin: int


@dataclass(frozen=True)
class GatewayPart:
    """The control plane that the demo's gateway follows, and the file of the token for it."""

    control_plane: str
    token_file: Path


@dataclass(frozen=True)
class TritonPart:
    """Where the real Triton is reached, and its repository on this disk."""

    http_url: str
    grpc_address: str
    metrics_url: str
    repository: Path


_HEAD = """\
# Written by `controlplane demo`. chat and the GPUs are simulated, and labelled so; model runs on a real Triton.
# Requests to chat go through the gateway, which splits them between its versions.
fleet: {name: demo}
scrape: {interval: 2s, timeout: 1500ms}
evaluation_interval: 2s

# A model's backends are scraped without being listed here.
targets:
  - engine: dcgm
    addresses: ["127.0.0.1:%(dcgm)d"]
    labels: {simulated: "true"}
  - engine: gateway    # listed for its label: the requests that pass it go to simulated engines
    addresses: ["127.0.0.1:%(gateway_admin)d"]
    labels: {simulated: "true"}
  - engine: probe
    interval: 6s       # long enough for an answer that a fault delays by 4s
    timeout: 6s
    urls: ["http://127.0.0.1:%(vllm_v1)d/v1/chat/completions"]
    labels: {model: chat, version: v1, simulated: "true"}
  - engine: probe
    interval: 6s       # long enough for an answer that a fault delays by 4s
    timeout: 6s
    urls: ["http://127.0.0.1:%(vllm_v2)d/v1/chat/completions"]
    labels: {model: chat, version: v2, simulated: "true"}
"""

_TRITON_PROBE = """\
  - engine: probe
    interval: 6s       # long enough for an answer that a fault delays by 4s
    timeout: 6s
    urls: ["%(http_url)s/v2/models/model/generate_stream"]
    labels: {model: model}
"""

_RULES = """
rules: [builtin:llm, builtin:gpu]
# The built-in packs wait for minutes; a demo shows an alert's whole life within one.
thresholds:
  latency_p99: {for: 6s, window: 30s}
  ttft_p95: {for: 6s, window: 30s}
  error_rate: {for: 6s, window: 30s}
  timeout_rate: {for: 6s, window: 30s}
  min_requests: {value: 3}
  service_down: {for: 6s}
  target_down: {for: 6s}
  vram_ratio: {for: 6s}
  temperature: {for: 6s}

notifiers:
  - {name: log, type: log}
"""

_ROUTE = """\
route: {receiver: %s, group_by: [model, alertname], group_wait: 2s, group_interval: 5s, repeat_interval: 1h}

models:
"""

_SLACK = """\
  - {name: slack, type: slack, channel: "%s", token_env: SLACK_BOT_TOKEN}
"""

_TRITON_MODEL = """\
  - name: model
    stable: v1
    traffic:
      driver: triton
      model: model
      # gpus: 0, because this Triton runs on the CPU and costs no GPU hours
      backends:
        - url: "%(http_url)s"
          metrics: "%(metrics_url)s"
          grpc: "%(grpc_address)s"   # load orders go here, so that they hold up no client on the HTTP port
          repository: "%(repository)s"
          gpus: 0
    versions: {v1: {}, v2: {}}
"""

_CHAT_MODEL = """\
  - name: chat
    stable: v1
    traffic: {driver: gateway}
    rollout:           # a canary that ends within a minute; a real one analyses for minutes or hours
      steps: [20%%, analyse 10s, 50%%, analyse 10s]
      analysis: {interval: 5s, minimum_requests: 5}
      rollback_window: 30s
    versions:
      v1: {backends: [{url: "http://127.0.0.1:%(vllm_v1)d", engine: vllm, gpus: 2, labels: {simulated: "true"}}]}
      v2: {backends: [{url: "http://127.0.0.1:%(vllm_v2)d", engine: vllm, gpus: 2, labels: {simulated: "true"}}]}

gateway:
  name: demo
  listen: "127.0.0.1:%(gateway)d"
  admin: "127.0.0.1:%(gateway_admin)d"
  workers: 1
  drain_timeout: 3s
  control_plane: {url: "%(control_plane)s", authorization: {credentials_file: "%(token_file)s"}}

cost: {gpu_hour_usd: 2.5, budgets: [{model: chat, monthly_usd: 9000}]}
metrics: {retention: 6h}
"""


def fleet_yaml(ports: Ports, gateway: GatewayPart, triton: TritonPart | None, *, slack_channel: str = "") -> str:
    """The text of the demo's fleet.yaml; without `triton` the model that it serves is left out.

    With `slack_channel`, alerts go to Slack by the token in SLACK_BOT_TOKEN; else to the control plane's log.
    """
    text = _HEAD % vars(ports)
    if triton:
        text += _TRITON_PROBE % vars(triton)
    text += _RULES
    if slack_channel:
        text += _SLACK % slack_channel
    text += _ROUTE % ("slack" if slack_channel else "log")
    if triton:
        text += _TRITON_MODEL % vars(triton)
    return text + _CHAT_MODEL % {**vars(ports), **vars(gateway)}
