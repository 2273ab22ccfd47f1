"""A control plane that took over any edits of fleet.yaml is as one that starts with the result."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collectors.discovery.asking import Asker
from collectors.exposition.interner import Interner
from collectors.scraping.scrape import ScrapeManager
from controlplane.app.embedded import Embedded
from controlplane.app.services import build_services
from controlplane.app.wiring import ControlPlane
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.config.reference import fields
from controlplane.errors import ConfigErrors
from controlplane.fleet.log_ring import LogRing
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.write.shipping.shipper import Shipper
from controlplane.pools import ThreadPool, make_pools
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from tests.unit.controlplane.app.backup_edits import BACKUP_EDITS
from tests.unit.controlplane.app.cloud_edits import CLOUD_EDITS
from tests.unit.controlplane.app.driver_edits import DRIVER_EDITS
from tests.unit.controlplane.app.kubernetes_sd_edits import kubernetes_edits
from tests.unit.controlplane.app.notifier_edits import NOTIFIER_EDITS
from tests.unit.controlplane.app.oauth2_edits import OAUTH2, oauth2_edits, proxy_edits
from tests.unit.controlplane.app.object_graph import Graph, graph
from tests.unit.controlplane.app.operator_edits import operator_edits
from tests.unit.controlplane.app.probe_edits import PROBE_EDITS
from tests.unit.controlplane.app.relabel_edits import RELABEL_EDITS
from tests.unit.controlplane.app.rich_fleet import RICH
from tests.unit.controlplane.app.rollout_edits import ROLLOUT_EDITS
from tests.unit.controlplane.app.route_edits import ROUTE_EDITS
from tests.unit.controlplane.app.sd_edits import SD_EDITS
from tests.unit.controlplane.app.slo_edits import SLO_EDITS

DROP = object()
TARGET, FILES, PROBE = ("targets", 0), ("targets", 1), ("targets", 2)
RANKER, CHAT = ("models", 0), ("models", 1)
TRAFFIC = (*RANKER, "traffic")
BACKEND = (*TRAFFIC, "backends", 0)
WRITE = ("metrics", "remote_write", 0)
QUEUE = (*WRITE, "queue_config")
OPS, THRESHOLD = ("notifiers", 0), ("thresholds", "temperature")
PROCESS: tuple[str | int, ...] = ("gateway",)
TENANT = (*PROCESS, "tenants", "research")
REPORT = ("usage_report", "schedule")
ANA = ("slack", "people", "U0123ABCD")
SPLIT = ("models", 2)
GATEWAY: tuple[str | int, ...] = (*SPLIT, "gateway")
GATEWAYS: dict[str, Any] = {
    "aliases": ["gpt", "gpt-4"],
    "balance": "prefix",
    "fallbacks": ["chat"],
    "degrade_to": "chat",
    "limits": {"requests_per_minute": 10},
    "limits.requests_per_minute": 11,
    "limits.tokens_per_minute": 12,
    "limits.concurrent": 13,
    "limits.daily_tokens": 14,
    "limits.monthly_tokens": 15,
    "limits.daily_usd": 16,
    "limits.monthly_usd": 17,
    "price.input_usd": 2,
    "price.output_usd": 5,
    "price.cached_usd": 1,
    "queue": {"max_waiting": 5},
    "queue.max_waiting": 6,
    "queue.max_wait": "7s",
    "timeouts": {"connect": "1s"},
    "timeouts.connect": "2s",
    "timeouts.first_event": "3s",
    "timeouts.idle": "4s",
    "timeouts.total": "5s",
    "retries": 1,
    "hedge": {},
    "hedge.quantile": 0.9,
    "hedge.share": 0.1,
    "cache": {},
    "cache.ttl": "9s",
    "cache.max_size": "2MB",
    "mirror.version": "v1",
    "mirror.share": 0.2,
    "paths": ["/custom/*", "/predict/v2"],
}
"""New values of the gateway's settings, by their path."""
SECOND = {"backends": [{"url": "http://127.0.0.1:6", "engine": "sglang"}]}
BASIC = {"username": "u", "password_file": "/pw"}
EDITS: tuple[tuple[str, tuple[str | int, ...], Any], ...] = (
    ("fleet.name", ("fleet", "name"), "other"),
    ("fleet.external_url", ("fleet", "external_url"), "https://b.example/cp/"),
    ("fleet.external_url", ("fleet", "external_url"), DROP),
    ("scrape.interval", ("scrape", "interval"), "30s"),
    ("scrape.timeout", ("scrape", "timeout"), "3s"),
    ("scrape.max_body_bytes", ("scrape", "max_body_bytes"), 12345),
    ("scrape.max_samples", ("scrape", "max_samples"), 17),
    ("targets[].engine", (*TARGET, "engine"), "sglang"),
    ("targets[].addresses", (*TARGET, "addresses"), ["127.0.0.1:9", "127.0.0.1:8"]),
    ("targets[].file_sd", (*FILES, "file_sd"), ["m*.json"]),
    ("targets[].http_sd[].url", (*FILES, "http_sd"), [{"url": "http://127.0.0.1:1/more"}]),
    (
        "targets[].http_sd[].refresh_interval",
        (*FILES, "http_sd"),
        [{"url": "http://127.0.0.1:1/", "refresh_interval": "9s"}],
    ),
    (
        "targets[].http_sd[].authorization",
        (*FILES, "http_sd"),
        [{"url": "http://127.0.0.1:1/", "authorization": {"credentials_env": "E"}}],
    ),
    ("targets[].http_sd[].basic_auth", (*FILES, "http_sd"), [{"url": "http://127.0.0.1:1/", "basic_auth": BASIC}]),
    (
        "targets[].http_sd[].tls",
        (*FILES, "http_sd"),
        [{"url": "http://127.0.0.1:1/", "tls": {"insecure_skip_verify": True}}],
    ),
    ("targets[].http_sd[].oauth2", (*FILES, "http_sd"), [{"url": "http://127.0.0.1:1/", "oauth2": OAUTH2}]),
    *oauth2_edits(TARGET),
    *(
        (path, (*FILES, "http_sd"), [section])
        for path, _, section in proxy_edits("targets[].http_sd[]", (), {"url": "http://127.0.0.1:1/"})
    ),
    *SD_EDITS,
    *kubernetes_edits(FILES),
    *operator_edits(FILES),
    ("targets[].prometheus_config", FILES, {"prometheus_config": "prometheus.yml"}),
    ("targets[].engines", FILES, {"prometheus_config": "prometheus.yml", "engines": {"web": "sglang"}}),
    ("targets[].urls", (*PROBE, "urls"), ["http://127.0.0.1:7/v1/completions"]),
    ("targets[].labels", (*PROBE, "labels"), {"model": "ranker"}),
    ("targets[].labels", (*FILES, "labels"), {"team": "b"}),
    ("targets[].path", (*TARGET, "path"), "/m"),
    ("targets[].scheme", (*TARGET, "scheme"), DROP),
    ("targets[].interval", (*TARGET, "interval"), "40s"),
    ("targets[].timeout", (*TARGET, "timeout"), "6s"),
    ("targets[].authorization.type", (*TARGET, "authorization", "type"), "Token"),
    ("targets[].authorization.credentials_file", (*TARGET, "authorization", "credentials_file"), "/k9"),
    ("targets[].authorization.credentials_env", (*TARGET, "authorization"), {"credentials_env": "E"}),
    ("targets[].basic_auth.username", (*FILES, "basic_auth", "username"), "w"),
    ("targets[].basic_auth.password_file", (*FILES, "basic_auth", "password_file"), "/q"),
    ("targets[].tls.ca_file", (*TARGET, "tls", "ca_file"), "/ca9"),
    ("targets[].tls.cert_file", (*TARGET, "tls"), {"cert_file": "/c9", "key_file": "/k9"}),
    ("targets[].tls.key_file", (*TARGET, "tls"), {"cert_file": "/c8", "key_file": "/k8"}),
    ("targets[].tls.server_name", (*TARGET, "tls", "server_name"), "vllm.internal"),
    ("targets[].tls.insecure_skip_verify", (*TARGET, "tls", "insecure_skip_verify"), True),
    ("targets[].prompt", (*PROBE, "prompt"), "Say hi."),
    ("targets[].protocol", (*PROBE, "protocol"), DROP),
    ("targets[].model_name", (*PROBE, "model_name"), "org/other"),
    ("targets", FILES, DROP),
    ("targets", ("targets",), DROP),
    ("rules", ("rules",), ["builtin:gpu"]),
    ("rules", ("rules",), ["mine.yml", "builtin:llm", "builtin:gpu"]),
    ("evaluation_interval", ("evaluation_interval",), "5s"),
    ("thresholds.<name>.value", (*THRESHOLD, "value"), 70),
    ("thresholds.<name>.for", (*THRESHOLD, "for"), "2m"),
    ("no_data", ("no_data",), {"GPUTemperatureHigh": "resolve", "LLMModelDown": "fire"}),
    ("no_data", ("no_data",), DROP),
    ("thresholds.<name>.window", ("thresholds", "control_plane"), {"window": "7m"}),
    ("notifiers[].name", ("notifiers", 1, "name"), "people"),
    ("notifiers[].type", OPS, {"name": "ops", "type": "log"}),
    ("notifiers[].channel", (*OPS, "channel"), "#other"),
    ("notifiers[].chart", (*OPS, "chart"), False),
    ("notifiers[].send_resolved", (*OPS, "send_resolved"), False),
    ("notifiers[].token_env", (*OPS, "token_env"), "B"),
    ("notifiers[].token_file", OPS, {"name": "ops", "type": "slack", "channel": "#ops", "token_file": "/t"}),
    ("notifiers[].base_url", (*OPS, "base_url"), DROP),
    ("notifiers", ("notifiers", 1), DROP),
    *NOTIFIER_EDITS,
    ("slack", ("slack",), DROP),
    ("slack.app_token_env", ("slack", "app_token_env"), "OTHER"),
    ("slack.app_token_env", ("slack", "app_token_env"), DROP),
    ("slack.app_token_file", ("slack",), {"app_token_file": "/app", "people": {}}),
    ("slack.signing_secret_env", ("slack", "signing_secret_env"), "OTHER"),
    ("slack.signing_secret_env", ("slack", "signing_secret_env"), DROP),
    ("slack.signing_secret_file", ("slack",), {"signing_secret_file": "/secret"}),
    ("slack.people", ("slack", "people"), {}),
    ("slack.people.<name>.name", (*ANA, "name"), "ben"),
    ("slack.people.<name>.role", (*ANA, "role"), "admin"),
    ("slack.base_url", ("slack", "base_url"), DROP),
    ("route", ("route",), DROP),
    ("route.receiver", ("route", "receiver"), "file"),
    ("route.group_by", ("route", "group_by"), ["..."]),
    ("route.group_wait", ("route", "group_wait"), "9s"),
    ("route.group_interval", ("route", "group_interval"), "9s"),
    ("route.repeat_interval", ("route", "repeat_interval"), "9h"),
    ("route.flapping.enabled", ("route", "flapping"), {"enabled": False}),
    ("route.flapping.changes", ("route", "flapping"), {"changes": 9}),
    ("route.flapping.window", ("route", "flapping"), {"window": "99m"}),
    ("route.flapping.settled_after", ("route", "flapping"), {"settled_after": "9m"}),
    ("route.storms.enabled", ("route", "storms"), {"enabled": False}),
    ("route.storms.groups", ("route", "storms"), {"groups": 9}),
    ("route.storms.window", ("route", "storms"), {"window": "9m"}),
    ("route.storms.share", ("route", "storms"), {"share": 0.9}),
    ("route.storms.causes", ("route", "storms"), {"causes": ["rack"]}),
    ("models", RANKER, DROP),
    ("models[].name", (*RANKER, "name"), "sorter"),
    ("models[].stable", (*RANKER, "stable"), "v2"),
    ("models[].traffic.driver", RANKER, {**RICH["models"][1], "name": "ranker"}),
    ("models[].traffic.model", (*TRAFFIC, "model"), DROP),
    ("models[].traffic.backends[].url", (*BACKEND, "url"), "http://127.0.0.1:4"),
    ("models[].traffic.backends[].metrics", (*BACKEND, "metrics"), "http://127.0.0.1:4/m"),
    ("models[].traffic.backends[].engine", (*BACKEND, "engine"), DROP),
    ("models[].traffic.backends[].engine", (*CHAT, "versions", "v1", "backends", 0, "engine"), "triton"),
    ("models[].traffic.backends[].repository", (*BACKEND, "repository"), "/srv/models"),
    ("models[].traffic.backends[].grpc", BACKEND, {"url": "http://127.0.0.1:2", "grpc": "127.0.0.1:5"}),
    ("models[].traffic.backends[].gpus", (*BACKEND, "gpus"), 4),
    ("models[].traffic.backends[].labels", (*BACKEND, "labels"), {"rack": "2"}),
    ("models[].traffic.backends[].max_in_flight", (*BACKEND, "max_in_flight"), 8),
    ("models[].traffic.backends[].adapters", (*BACKEND, "adapters"), ["law"]),
    ("models[].traffic.backends[].draining", (*BACKEND, "draining"), True),
    ("models[].traffic.backends[].authorization", (*BACKEND, "authorization", "credentials_file"), "/k8"),
    ("models[].traffic.backends[].basic_auth", BACKEND, {"url": "http://127.0.0.1:2", "basic_auth": BASIC}),
    ("models[].traffic.backends[].tls", (*BACKEND, "tls"), {"cert_file": "/c9", "key_file": "/k9"}),
    ("models[].traffic.backends[].tls", (*BACKEND, "tls"), {"insecure_skip_verify": True}),
    ("models[].traffic.drain_timeout", (*TRAFFIC, "drain_timeout"), "2m"),
    ("models[].traffic.load_timeout", (*TRAFFIC, "load_timeout"), "3m"),
    (
        "models[].versions.<name>.backends",
        (*CHAT, "versions", "v2"),
        {"backends": [{"url": "http://127.0.0.1:6", "engine": "sglang"}]},
    ),
    ("models[].versions.<name>.backends", (*CHAT, "versions", "v1", "backends"), []),
    ("models[].files", (*RANKER, "files"), "/srv/ranker/{number}"),
    ("models[].versions.<name>.files", (*RANKER, "versions", "v1", "files"), "/srv/ranker/1"),
    ("models[].versions.<name>.model", (*CHAT, "versions", "v1", "model"), "org/chat"),
    ("models[].verify.path", (*RANKER, "verify", "path"), "generate_stream"),
    ("models[].verify.body", (*RANKER, "verify"), {"body": {"inputs": []}}),
    ("models[].verify.prompt", (*RANKER, "verify", "prompt"), "again"),
    ("models[].verify.status", (*RANKER, "verify", "status"), 201),
    ("models[].verify.requests", (*RANKER, "verify", "requests"), 9),
    ("models[].verify.failures", (*RANKER, "verify", "failures"), 1),
    ("models[].verify.timeout", (*RANKER, "verify", "timeout"), "4s"),
    ("models[].verify.latency", (*RANKER, "verify", "latency"), "1s"),
    ("models[].verify.error_ratio", (*RANKER, "verify", "error_ratio"), 0.5),
    ("models[].verify.for", (*RANKER, "verify", "for"), "40s"),
    ("gateway.name", (*PROCESS, "name"), "other"),
    ("gateway.listen", (*PROCESS, "listen"), "127.0.0.1:8402"),
    ("gateway.admin", (*PROCESS, "admin"), "127.0.0.1:8403"),
    ("gateway.workers", (*PROCESS, "workers"), 3),
    ("gateway.beside", (*PROCESS, "beside"), True),
    ("gateway.control_plane", (*PROCESS, "control_plane"), DROP),
    ("gateway.control_plane.url", (*PROCESS, "control_plane", "url"), "http://127.0.0.1:8081"),
    ("gateway.control_plane.authorization", (*PROCESS, "control_plane", "authorization"), {"credentials_env": "E"}),
    (
        "gateway.control_plane.basic_auth",
        (*PROCESS, "control_plane"),
        {"url": "http://127.0.0.1:8080", "basic_auth": BASIC},
    ),
    ("gateway.control_plane.tls", (*PROCESS, "control_plane", "tls"), {"insecure_skip_verify": True}),
    ("gateway.authentication", (*PROCESS, "authentication"), "none"),
    ("gateway.tls.cert_file", (*PROCESS, "tls", "cert_file"), "/c2"),
    ("gateway.tls.key_file", (*PROCESS, "tls", "key_file"), "/k6"),
    ("gateway.tls.client_ca_file", (*PROCESS, "tls", "client_ca_file"), "/ca2"),
    ("gateway.max_head_bytes", (*PROCESS, "max_head_bytes"), "16KB"),
    ("gateway.max_body_bytes", (*PROCESS, "max_body_bytes"), "1MB"),
    ("gateway.max_connections", (*PROCESS, "max_connections"), 7),
    ("gateway.head_timeout", (*PROCESS, "head_timeout"), "3s"),
    ("gateway.body_timeout", (*PROCESS, "body_timeout"), "3s"),
    ("gateway.idle_timeout", (*PROCESS, "idle_timeout"), "3s"),
    ("gateway.drain_timeout", (*PROCESS, "drain_timeout"), "3s"),
    ("gateway.max_journal_bytes", (*PROCESS, "max_journal_bytes"), "1MB"),
    ("gateway.traces.url", (*PROCESS, "traces", "url"), "http://127.0.0.1:2/v1/traces"),
    ("gateway.traces.content", (*PROCESS, "traces", "content"), True),
    ("gateway.traces.sample", (*PROCESS, "traces", "sample"), 0.5),
    ("gateway.traces.authorization", (*PROCESS, "traces", "authorization"), {"credentials_env": "E"}),
    ("gateway.traces.basic_auth", (*PROCESS, "traces", "basic_auth"), BASIC),
    ("gateway.traces.tls", (*PROCESS, "traces", "tls"), {"insecure_skip_verify": True}),
    ("gateway.tenants.<name>.weight", (*TENANT, "weight"), 2),
    ("gateway.tenants.<name>.requests_per_minute", (*TENANT, "requests_per_minute"), 7),
    ("gateway.tenants.<name>.tokens_per_minute", (*TENANT, "tokens_per_minute"), 7),
    ("gateway.tenants.<name>.concurrent", (*TENANT, "concurrent"), 7),
    ("gateway.tenants.<name>.daily_tokens", (*TENANT, "daily_tokens"), 7),
    ("gateway.tenants.<name>.monthly_tokens", (*TENANT, "monthly_tokens"), 7),
    ("gateway.tenants.<name>.daily_usd", (*TENANT, "daily_usd"), 7),
    ("gateway.tenants.<name>.monthly_usd", (*TENANT, "monthly_usd"), 7),
    *((f"models[].gateway.{name}", (*GATEWAY, *name.split(".")), value) for name, value in GATEWAYS.items()),
    *ROLLOUT_EDITS,
    *BACKUP_EDITS,
    *SLO_EDITS,
    *PROBE_EDITS,
    *CLOUD_EDITS,
    *RELABEL_EDITS,
    *DRIVER_EDITS,
    *ROUTE_EDITS,
    ("models[].traffic.driver", SPLIT, {**RICH["models"][1], "name": "split"}),
    ("cost", ("cost",), DROP),
    ("cost.gpu_hour_usd", ("cost", "gpu_hour_usd"), 3),
    ("cost.budgets[].model", ("cost", "budgets", 0, "model"), "ranker"),
    ("cost.budgets[].account", ("cost", "budgets", 0), {"account": "openai", "monthly_usd": 9}),
    ("cost.budgets[].monthly_usd", ("cost", "budgets", 0, "monthly_usd"), 1),
    ("metrics.remote_write", ("metrics", "remote_write", 1), DROP),
    ("metrics.remote_write[].url", (*WRITE, "url"), "http://127.0.0.1:1/w"),
    ("metrics.remote_write[].name", (*WRITE, "name"), "three"),
    ("metrics.remote_write[].send", (*WRITE, "send"), ["raw", "recorded"]),
    ("metrics.remote_write[].authorization", (*WRITE, "authorization", "credentials_file"), "/k7"),
    ("metrics.remote_write[].basic_auth", ("metrics", "remote_write", 1, "basic_auth"), BASIC),
    *proxy_edits("metrics.remote_write[]", ("metrics", "remote_write", 1), {"url": "http://127.0.0.1:1/w"}),
    ("metrics.remote_write[].oauth2", ("metrics", "remote_write", 1, "oauth2"), OAUTH2),
    ("metrics.remote_write[].tls", (*WRITE, "tls"), {"insecure_skip_verify": True}),
    ("metrics.remote_write[].headers", (*WRITE, "headers"), {"X-Scope": "b"}),
    ("metrics.remote_write[].remote_timeout", (*WRITE, "remote_timeout"), "4s"),
    ("metrics.remote_write[].queue_config.max_shards", QUEUE, {"max_shards": 2}),
    ("metrics.remote_write[].queue_config.max_samples_per_send", QUEUE, {"max_samples_per_send": 7}),
    ("metrics.remote_write[].queue_config.batch_send_deadline", QUEUE, {"batch_send_deadline": "7s"}),
    ("metrics.remote_write[].queue_config.min_backoff", QUEUE, {"min_backoff": "70ms"}),
    ("metrics.remote_write[].queue_config.max_backoff", QUEUE, {"max_backoff": "7s"}),
    ("metrics.remote_write[].queue_config.sample_age_limit", QUEUE, {"sample_age_limit": "7h"}),
    ("metrics.remote_write[].queue_config.max_bytes", QUEUE, {"max_bytes": 77_000_000}),
    ("usage_report", ("usage_report",), DROP),
    ("usage_report.schedule", (*REPORT,), "@daily"),
    ("usage_report.schedule.cron", (*REPORT, "cron"), "0 9 * * mon"),
    ("usage_report.schedule.timezone", (*REPORT, "timezone"), "Asia/Shanghai"),
    ("usage_report.schedule.jitter", (*REPORT, "jitter"), "12h"),
    ("usage_report.schedule.catch_up", (*REPORT, "catch_up"), "2h"),
    ("usage_report.receiver", ("usage_report", "receiver"), "file"),
    ("housekeeping", ("housekeeping",), DROP),
    ("housekeeping.schedule", ("housekeeping", "schedule"), "@weekly"),
    ("housekeeping.schedule.cron", ("housekeeping", "schedule", "cron"), "0 4 * * *"),
    ("housekeeping.schedule.jitter", ("housekeeping", "schedule", "jitter"), "2h"),
    ("housekeeping.schedule.timezone", ("housekeeping", "schedule", "timezone"), "Asia/Shanghai"),
    ("housekeeping.schedule.catch_up", ("housekeeping", "schedule", "catch_up"), "2d"),
    ("trusted_proxies", ("trusted_proxies",), ["10.0.0.0/8"]),
)
"""(field of the reference, where in RICH, new value)."""

AT_THE_START = ("database", "metrics")
SKIPPED = (ThreadPool, Embedded, SeriesStore, WorkerQuerier, Interner, SystemClock, Database)
"""What holds samples, and what no reload reaches."""
OF_THE_RUN = {
    "Alerting._holder",
    "Backups._data_dir",
    "Beside._folder",
    "ContentReader.memory",
    "ControlPlane.holder",
    "Evaluators._since",
    "Evaluators._started",
    "Evaluators._started_at",
    "MessageSender.holder",
    "MetricsPart._data_dir",
    "RotaState.awaited_since",
    "Run.configured_at",
    "Run.started_at",
    "ShipQueue._folder",
    "VersionFilesPart._data_dir",
    "WindowReader._folder",
}
"""What differs between two starts with one file."""
OF_THE_PAST = {
    "ControlPlane._stamps",
    "MessageSender._replaced",
    "Run.reload_ok",
    "ShipQueue._buffered",
    "ShipQueue._number",
    "ShipQueue._sizes",
}
"""What a control plane remembers of reloads: when the file was read, whether it was good, which receivers need not wait
any more, which series ended, and rows that could not be shipped yet."""


def edited(fleet: dict[str, Any], where: tuple[str | int, ...], value: Any) -> dict[str, Any] | None:
    """Return the fleet with an edit; None where another edit took away what this one is about."""
    found = copy.deepcopy(fleet)
    at: Any = found
    try:
        for step in where[:-1]:
            at = at.setdefault(step, {}) if where[: len(GATEWAY)] == GATEWAY and isinstance(at, dict) else at[step]
        if value is DROP:
            del at[where[-1]]
        elif isinstance(at, list) and not int(where[-1]) < len(at):
            return None
        else:
            at[where[-1]] = copy.deepcopy(value)
    except (KeyError, IndexError, TypeError):
        return None
    return found


class Bench:
    """Folders of control planes that run no loop: their only changes are those of a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "fleet.yaml"
        (folder / "more.json").write_text('[{"targets": ["127.0.0.1:4"]}]')
        jobs = "scrape_configs: [{job_name: web, static_configs: [{targets: ['127.0.0.1:4']}]}]\n"
        (folder / "prometheus.yml").write_text(jobs)
        (folder / "golden.json").write_text('{"prompts": [{"prompt": "2 + 2?", "expect": {"contains": ["4"]}}]}')
        (folder / "mine.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n")
        self.template = folder / "template.db"
        database = Database(f"sqlite:///{self.template}")
        migrate(database)
        database.close()
        self.write(RICH)
        self.rich = load_fleet(self.file)

    def write(self, fleet: dict[str, Any]) -> None:
        self.file.write_text(json.dumps(fleet))

    @asynccontextmanager
    async def started(self, loaded: LoadedFleet) -> AsyncIterator[ControlPlane]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copy(self.template, folder / "a.db")
        database, clock = Database(f"sqlite:///{folder / 'a.db'}"), SystemClock()
        pools = make_pools()
        embedded = Embedded.open(loaded.fleet.metrics, folder, clock)
        plane = ControlPlane(loaded, database, embedded, clock, "127.0.0.1:8080", folder, pools, observe_only=False)
        try:
            await plane.configure(loaded)
            await plane.metrics.start()
            yield plane
        finally:
            await plane.close()
            await embedded.close()
            database.close()
            pools.close()
            shutil.rmtree(folder)


async def seen(plane: ControlPlane) -> Graph:
    """Return all that a control plane holds, once it has looked for targets."""
    await plane.scraping.discover()
    services = build_services(plane, plane.database, "127.0.0.1", LogRing(0.0))
    return graph({"plane": plane, "names": services.allowed_hosts()}, SKIPPED)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScrapeManager, "_run", never)
        patch.setattr(Asker, "_run", never)
        patch.setattr(Shipper, "_forever", never)
        yield Bench(tmp_path_factory.mktemp("reloads"))


def test_every_field_of_the_reference_is_edited() -> None:
    paths = [field.path for field in fields()]
    leaves = {p for p in paths if not any(q != p and q.startswith((f"{p}.", f"{p}[")) for q in paths)}
    at_reload = {p for p in leaves if not p.startswith(AT_THE_START) or p.startswith("metrics.remote_write")}
    # These need a fleet without routes: test_alertmanager_config.py.
    at_reload -= {"notifications.alertmanager_config", "notifications.flapping", "notifications.storms"}
    assert at_reload <= {field for field, _, _ in EDITS}


async def test_two_starts_with_one_file_differ_in_the_state_of_the_run_only(bench: Bench) -> None:
    bench.write(RICH)
    loaded = load_fleet(bench.file)
    async with bench.started(loaded) as one, bench.started(loaded) as two:
        differences = (await seen(one)).differences(await seen(two))
    assert set(differences.values()) == OF_THE_RUN


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit[0]} at {'.'.join(map(str, edit[1]))}")
async def test_one_edit(bench: Bench, edit: tuple[str, tuple[str | int, ...], Any]) -> None:
    fleet = edited(RICH, *edit[1:])
    assert fleet is not None
    assert await compare(bench, [fleet]) == 1


@settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.sampled_from(EDITS), min_size=2, max_size=5))
def test_edits_one_after_another(bench: Bench, edits: list[tuple[str, tuple[str | int, ...], Any]]) -> None:
    fleets = [RICH]
    for _, where, value in edits:
        fleet = edited(fleets[-1], where, value)
        fleets += [fleet] if fleet is not None else []
    asyncio.run(compare(bench, fleets[1:]))


async def compare(bench: Bench, fleets: list[dict[str, Any]]) -> int:
    """Let a control plane take over one file after another, and compare it with a start with the last good one.

    Return how many it took.
    """
    good, taken = bench.rich, 0
    async with bench.started(good) as plane:
        await plane.scraping.discover()
        for fleet in fleets:
            bench.write(fleet)
            # A single edit is taken, so only the refusals of longer chains need the state before.
            before = await seen(plane) if len(fleets) > 1 else None
            try:
                await plane.reload("test")
            except ConfigErrors:
                assert before is not None
                assert set(before.differences(await seen(plane)).values()) <= {"Run.reload_ok"}
            else:
                good, taken = plane.loaded, taken + 1
        reloaded = await seen(plane)
    async with bench.started(good) as fresh:
        started = await seen(fresh)
    differences = reloaded.differences(started)
    told = {path: owner for path, owner in differences.items() if owner not in OF_THE_RUN | OF_THE_PAST}
    assert told == {}
    return taken
