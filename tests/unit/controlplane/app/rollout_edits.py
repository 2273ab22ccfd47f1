"""Edits of the options of rollouts in the rich fleet.yaml."""

from __future__ import annotations

from typing import Any

Where = tuple[str | int, ...]
OPTIONS: Where = ("models", 2, "rollout")
"""Options of model split."""
SHARED: Where = ("rollouts",)
# The expressions read no metric: a check would read the whole catalogue for it, at each of some thousand edits.
RICH_OPTIONS: dict[str, Any] = {
    "steps": [{"mirror": "10%", "for": "1m"}, {"testers": "1m"}, {"weight": "5%"}, {"analyse": "5m"}, {"pause": "1m"}],
    "analysis": {
        "compare": [{"metric": "errors"}],
        "thresholds": [{"name": "queue", "expr": "vector(1)", "at_most": 9}],
    },
    "warm": {"prompts": ["hi"]},
    "golden": {
        "prompts": [{"name": "sum", "prompt": "2 + 2?", "expect": {"contains": "4", "judged": "It is right."}}],
        "judge": {"url": "http://127.0.0.1:1/v1", "model": "judge", "key_file": "/k6"},
    },
    "top_up": {"prompts": ["hi"]},
    "rollback_on": ["LLMErrorRateHigh"],
}
RICH_SHARED: dict[str, Any] = {
    "freeze": [
        {"name": "night", "cron": "0 22 * * *", "for": "8h", "timezone": "Europe/Berlin"},
        {"name": "feast", "from": "2026-12-24", "to": "2026-12-26", "models": ["split"]},
    ],
    "hooks": [{"name": "backup", "at": "switch", "url": "http://127.0.0.1:1/backup"}],
    "approvals": [{"at": "full"}],
    "checklist": [{"name": "monitoring"}, {"name": "load", "expr": "vector(1)"}],
}
_STEPS, _ANALYSIS = (*OPTIONS, "steps"), (*OPTIONS, "analysis")
_COMPARED, _LIMIT = (*_ANALYSIS, "compare", 0), (*_ANALYSIS, "thresholds", 0)
_GOLDEN, _WARM, _TOP = (*OPTIONS, "golden"), (*OPTIONS, "warm"), (*OPTIONS, "top_up")
_PROMPT = (*_GOLDEN, "prompts", 0)
_EXPECT, _JUDGE = (*_PROMPT, "expect"), (*_GOLDEN, "judge")
_HOOK, _ITEM, _APPROVAL = (*SHARED, "hooks", 0), (*SHARED, "checklist", 1), (*SHARED, "approvals", 0)
_NIGHT, _FEAST = (*SHARED, "freeze", 0), (*SHARED, "freeze", 1)
_OF_A_MODEL: tuple[tuple[str, Where, Any], ...] = (
    ("strategy", (*OPTIONS, "strategy"), "canary"),
    ("steps[].weight", (*_STEPS, 2, "weight"), 0.1),
    ("steps[].analyse", (*_STEPS, 3, "analyse"), "6m"),
    ("steps[].pause", (*_STEPS, 4, "pause"), "approval"),
    ("steps[].mirror", (*_STEPS, 0, "mirror"), "20%"),
    ("steps[].for", (*_STEPS, 0, "for"), "2m"),
    ("steps[].testers", (*_STEPS, 1, "testers"), "approval"),
    ("analysis.interval", (*_ANALYSIS, "interval"), "30s"),
    ("analysis.minimum_requests", (*_ANALYSIS, "minimum_requests"), 7),
    ("analysis.failures", (*_ANALYSIS, "failures"), 1),
    ("analysis.patience", (*_ANALYSIS, "patience"), "9m"),
    ("analysis.false_alarms", (*_ANALYSIS, "false_alarms"), "2%"),
    ("analysis.dry_run", (*_ANALYSIS, "dry_run"), ["queue"]),
    ("analysis.compare[].metric", (*_COMPARED, "metric"), "ttft"),
    ("analysis.compare[].tolerance", (*_COMPARED, "tolerance"), 0.01),
    ("analysis.compare[].dry_run", (*_COMPARED, "dry_run"), True),
    ("analysis.thresholds[].name", (*_LIMIT, "name"), "waiting"),
    ("analysis.thresholds[].expr", (*_LIMIT, "expr"), "vector(2)"),
    ("analysis.thresholds[].at_most", (*_LIMIT, "at_most"), 10),
    ("analysis.thresholds[].at_least", (*_LIMIT, "at_least"), 1),
    ("analysis.thresholds[].dry_run", (*_LIMIT, "dry_run"), True),
    ("warm.prompts", (*_WARM, "prompts"), "hello"),
    ("warm.at_least", (*_WARM, "at_least"), 6),
    ("warm.at_most", (*_WARM, "at_most"), 60),
    ("warm.within", (*_WARM, "within"), "30%"),
    ("warm.timeout", (*_WARM, "timeout"), "1m"),
    ("golden.prompts[].name", (*_PROMPT, "name"), "addition"),
    ("golden.prompts[].prompt", (*_PROMPT, "prompt"), "1 + 3?"),
    ("golden.prompts[].body", _PROMPT, {"body": {"prompt": "2 + 2?"}, "expect": {"exact": "4"}}),
    ("golden.prompts[].path", (*_PROMPT, "path"), "completions"),
    ("golden.prompts[].timeout", (*_PROMPT, "timeout"), "5s"),
    ("golden.prompts[].expect.contains", (*_EXPECT, "contains"), ["four"]),
    ("golden.prompts[].expect.lacks", (*_EXPECT, "lacks"), ["five"]),
    ("golden.prompts[].expect.regex", (*_EXPECT, "regex"), "4|four"),
    ("golden.prompts[].expect.exact", (*_EXPECT, "exact"), "4"),
    ("golden.prompts[].expect.json_schema", (*_EXPECT, "json_schema"), {"type": "number"}),
    ("golden.prompts[].expect.at_least_characters", (*_EXPECT, "at_least_characters"), 1),
    ("golden.prompts[].expect.at_most_characters", (*_EXPECT, "at_most_characters"), 9),
    ("golden.prompts[].expect.judged", (*_EXPECT, "judged"), "It is short."),
    ("golden.file", _GOLDEN, {"file": "golden.json"}),
    ("golden.pass_ratio", (*_GOLDEN, "pass_ratio"), "90%"),
    ("golden.dry_run", (*_GOLDEN, "dry_run"), True),
    ("golden.excerpt_characters", (*_GOLDEN, "excerpt_characters"), 100),
    ("golden.judge.url", (*_JUDGE, "url"), "http://127.0.0.1:2/v1"),
    ("golden.judge.model", (*_JUDGE, "model"), "other"),
    ("golden.judge.key_file", (*_JUDGE, "key_file"), "/k9"),
    ("golden.judge.key_env", _JUDGE, {"url": "http://127.0.0.1:1/v1", "model": "judge", "key_env": "E"}),
    ("golden.judge.timeout", (*_JUDGE, "timeout"), "4s"),
    ("top_up.prompts", (*_TOP, "prompts"), ["hello", "again"]),
    ("top_up.per_minute", (*_TOP, "per_minute"), 5),
    ("top_up.at_most", (*_TOP, "at_most"), 50),
    ("hooks", (*OPTIONS, "hooks"), [{"name": "own", "at": "end", "url": "http://127.0.0.1:1/end"}]),
    ("approvals", (*OPTIONS, "approvals"), [{"at": "start", "role": "admin"}]),
    ("checklist", (*OPTIONS, "checklist"), ["capacity", "security-scan"]),
    ("rollback_on", (*OPTIONS, "rollback_on"), ["LLMTimeToFirstTokenHigh"]),
    ("deadline", (*OPTIONS, "deadline"), "2h"),
    ("rollback_window", (*OPTIONS, "rollback_window"), "10m"),
    ("allow_downtime", (*OPTIONS, "allow_downtime"), True),
    ("after", (*OPTIONS, "after"), ["ranker"]),
)
_OF_ALL: tuple[tuple[str, Where, Any], ...] = (
    ("freeze[].name", (*_NIGHT, "name"), "dark"),
    ("freeze[].cron", (*_NIGHT, "cron"), "0 21 * * *"),
    ("freeze[].for", (*_NIGHT, "for"), "7h"),
    ("freeze[].timezone", (*_NIGHT, "timezone"), "Asia/Shanghai"),
    ("freeze[].from", (*_FEAST, "from"), "2026-12-23 12:00"),
    ("freeze[].to", (*_FEAST, "to"), "2026-12-27"),
    ("freeze[].models", (*_FEAST, "models"), ["ranker", "split"]),
    ("hooks[].name", (*_HOOK, "name"), "copy"),
    ("hooks[].at", (*_HOOK, "at"), "start"),
    ("hooks[].url", (*_HOOK, "url"), "http://127.0.0.1:2/backup"),
    ("hooks[].timeout", (*_HOOK, "timeout"), "3s"),
    ("hooks[].on_failure", (*_HOOK, "on_failure"), "pause"),
    ("hooks[].authorization", (*_HOOK, "authorization"), {"credentials_env": "E"}),
    ("hooks[].basic_auth", (*_HOOK, "basic_auth"), {"username": "u", "password_file": "/pw"}),
    ("hooks[].tls", (*_HOOK, "tls"), {"insecure_skip_verify": True}),
    ("approvals[].at", (*_APPROVAL, "at"), "retire"),
    ("approvals[].count", (*_APPROVAL, "count"), 2),
    ("approvals[].role", (*_APPROVAL, "role"), "admin"),
    ("checklist[].name", (*_ITEM, "name"), "load-test"),
    ("checklist[].expr", (*_ITEM, "expr"), "vector(2)"),
    ("checklist[].backup", _ITEM, {"name": "backup", "backup": "models"}),
    ("checklist[].attested", _ITEM, {"name": "docs", "attested": "https://wiki.example"}),
)
ROLLOUT_EDITS = (
    *((f"models[].rollout.{name}", where, value) for name, where, value in _OF_A_MODEL),
    *((f"rollouts.{name}", where, value) for name, where, value in _OF_ALL),
    ("models[].versions.<name>.memory", ("models", 2, "versions", "v2", "memory"), "40GB"),
    (
        "models[].versions.<name>.kv_cache",
        ("models", 2, "versions", "v2"),
        {"backends": [{"url": "http://127.0.0.1:6", "engine": "vllm"}], "memory": "40GB", "kv_cache": "1GB"},
    ),
)
"""(field of the reference, where in RICH, new value)."""
