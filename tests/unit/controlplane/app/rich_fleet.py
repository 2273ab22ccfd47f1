"""A fleet.yaml that uses nearly every section, as data."""

from __future__ import annotations

from typing import Any

from tests.unit.controlplane.app.backup_edits import RICH_BACKUP
from tests.unit.controlplane.app.notifier_edits import RICH_NOTIFIERS
from tests.unit.controlplane.app.rollout_edits import RICH_OPTIONS, RICH_SHARED
from tests.unit.controlplane.app.route_edits import (
    RICH_INHIBITIONS,
    RICH_INTERVALS,
    RICH_NOTIFICATIONS,
    RICH_PEOPLE,
    RICH_ROTAS,
    RICH_ROUTE,
)

RICH: dict[str, Any] = {
    "fleet": {"name": "test", "external_url": "https://a.example"},
    "scrape": {"interval": "15s", "timeout": "10s", "max_body_bytes": 1_000_000, "max_samples": 5000},
    "targets": [
        {
            "engine": "vllm",
            "addresses": ["127.0.0.1:1"],
            "labels": {"team": "a"},
            "path": "/metrics",
            "scheme": "https",
            "interval": "20s",
            "timeout": "5s",
            "authorization": {"type": "Bearer", "credentials_file": "/k1"},
            "tls": {"ca_file": "/ca1"},
        },
        {"engine": "vllm", "file_sd": ["more.json"], "basic_auth": {"username": "u", "password_file": "/p"}},
        {
            "engine": "probe",
            "urls": ["http://127.0.0.1:1/v1/chat/completions"],
            "labels": {"model": "chat"},
            "prompt": "hello",
            "protocol": "openai",
            "model_name": "org/chat",
        },
        *(
            {"engine": name, "urls": ["http://127.0.0.1:1"], "authorization": {"credentials_file": "/k1"}}
            for name in ("openai", "anthropic")
        ),
        {
            "engine": "bedrock",
            "urls": ["http://127.0.0.1:1"],
            "aws": {
                "region": "eu-west-1",
                "identity": "access_key",
                "credentials_file": "/k1",
                "quotas": {"amazon.nova-lite-v1:0": ["L-00000000"]},
            },
        },
        {
            "engine": "azure-openai",
            "urls": ["http://127.0.0.1:1"],
            "azure": {
                "identity": "client_secret",
                "costs": False,
                "quotas": False,
                "tenant": "t",
                "client": "c",
                "resource": "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a",
            },
            "authorization": {"credentials_file": "/k1"},
        },
        {
            "engine": "vertex",
            "urls": ["http://127.0.0.1:1"],
            "google": {"project": "p", "identity": "service_account", "key_file": "/k1", "billing_table": "p.d.t0"},
        },
    ],
    "rules": ["builtin:gpu", "builtin:llm", "mine.yml"],
    "evaluation_interval": "15s",
    "thresholds": {"temperature": {"value": 80, "for": "1m"}},
    "no_data": {"GPUTemperatureHigh": "fire after 10m"},
    "owners": {"gpu": "infra"},
    "notifiers": [
        {
            "name": "ops",
            "type": "slack",
            "channel": "#ops",
            "token_env": "A",
            "base_url": "http://127.0.0.1:1/",
            "on_call": "primary",
        },
        {"name": "file", "type": "log"},
        *RICH_NOTIFIERS,
    ],
    "route": RICH_ROUTE,
    "inhibit_rules": RICH_INHIBITIONS,
    "time_intervals": RICH_INTERVALS,
    "notifications": RICH_NOTIFICATIONS,
    "people": RICH_PEOPLE,
    "rotas": RICH_ROTAS,
    "models": [
        {
            "name": "ranker",
            "stable": "v1",
            "traffic": {
                "driver": "triton",
                "model": "rank",
                "drain_timeout": "1m",
                "load_timeout": "1m",
                "backends": [
                    {
                        "url": "http://127.0.0.1:2",
                        "metrics": "http://127.0.0.1:2/metrics",
                        "engine": "triton",
                        "labels": {"rack": "1"},
                        "authorization": {"credentials_file": "/k2"},
                        "gpus": 1,
                    }
                ],
            },
            "versions": {"v1": {}, "v2": {}},
            "verify": {"prompt": "hello", "path": "generate", "requests": 3},
        },
        {
            "name": "chat",
            "stable": "v1",
            "traffic": {"driver": "none"},
            "versions": {"v1": {"backends": [{"url": "http://127.0.0.1:3", "engine": "vllm", "gpus": 2}]}},
            "slos": [
                {"name": "up", "objective": 99.9, "availability": {}},
                {"name": "fast", "objective": 99, "window": "7d", "latency": {"metric": "e2e", "below": "2s"}},
            ],
        },
        {
            "name": "split",
            "stable": "v1",
            "traffic": {"driver": "gateway"},
            "versions": {
                "v1": {"backends": [{"url": "http://127.0.0.1:3", "engine": "vllm"}]},
                "v2": {"backends": [{"url": "http://127.0.0.1:6", "engine": "vllm"}]},
            },
            "rollout": RICH_OPTIONS,
            "gateway": {
                "aliases": ["gpt"],
                "price": {"input_usd": 1, "output_usd": 4},
                "mirror": {"version": "v2", "share": 0.1},
                "paths": ["/custom/predict"],
            },
        },
    ],
    "rollouts": RICH_SHARED,
    "slack": {
        "app_token_env": "APP",
        "signing_secret_env": "SIGNS",
        "people": {"U0123ABCD": {"name": "ana", "role": "operator"}},
        "base_url": "http://127.0.0.1:1/",
    },
    "gateway": {
        "name": "gw",
        "listen": "127.0.0.1:8400",
        "control_plane": {"url": "http://127.0.0.1:8080", "authorization": {"credentials_file": "/k4"}},
        "traces": {"url": "http://127.0.0.1:1/v1/traces"},
        "tls": {"cert_file": "/c1", "key_file": "/k5"},
        "tenants": {"research": {"tokens_per_minute": 1000}},
    },
    "cost": {
        "gpu_hour_usd": 2.5,
        "budgets": [{"model": "chat", "monthly_usd": 900}],
    },
    "metrics": {
        "remote_write": [
            {
                "url": "http://127.0.0.1:1/write",
                "name": "one",
                "send": ["canonical"],
                "headers": {"X-Scope": "a"},
                "remote_timeout": "3s",
                "authorization": {"credentials_file": "/k3"},
            },
            {"url": "http://127.0.0.1:1/other", "name": "two"},
        ]
    },
    "usage_report": {"schedule": {"cron": "0 8 * * mon", "timezone": "Europe/Berlin"}, "receiver": "ops"},
    "housekeeping": {"schedule": {"cron": "30 3 * * *", "jitter": "1h"}},
    "backup": RICH_BACKUP,
    "trusted_proxies": ["10.0.0.1"],
}
