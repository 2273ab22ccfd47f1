"""A notifier of each kind, and an edit of each of its fields."""

from __future__ import annotations

from typing import Any

from tests.unit.controlplane.app.oauth2_edits import OAUTH2, PROXY

RESPONDERS = [{"type": "team", "name": "a"}, {"type": "user", "username": "a@b.c"}, {"type": "user", "id": "u"}]
RICH_NOTIFIERS: list[dict[str, Any]] = [
    {
        "name": "hook",
        "type": "webhook",
        "url": "http://127.0.0.1:1/hook",
        "authorization": {"credentials_file": "/k"},
        "headers": {"X-Tenant": "a"},
        "tls": {"ca_file": "/ca"},
    },
    {
        "name": "am",
        "type": "alertmanager",
        "urls": ["http://127.0.0.1:1"],
        "basic_auth": {"username": "u", "password_file": "/p"},
    },
    {
        "name": "mail",
        "type": "email",
        "host": "mail.example",
        "username": "u",
        "password_file": "/p",
        "from": "a@example.org",
        "to": ["b@example.org"],
    },
    {"name": "feishu", "type": "feishu", "url_env": "FEISHU", "secret_env": "FEISHU_SECRET", "language": "zh"},
    {"name": "dingtalk", "type": "dingtalk", "url_env": "DINGTALK"},
    {"name": "wecom", "type": "wecom", "url_env": "WECOM"},
    {"name": "teams", "type": "msteams", "url_env": "TEAMS"},
    {"name": "slackhook", "type": "slack_webhook", "url_env": "HOOK"},
    {"name": "duty", "type": "pagerduty", "routing_key_env": "DUTY"},
    {"name": "genie", "type": "opsgenie", "api_key_env": "GENIE", "responders": RESPONDERS},
    {"name": "program", "type": "command", "command": ["/bin/true", "a"]},
    {"name": "second", "type": "slack", "channel": "#ops", "token_env": "A", "base_url": "http://127.0.0.1:1/"},
]
"""They stand after the first two notifiers of RICH."""


def _at(name: str) -> tuple[str, int]:
    return ("notifiers", 2 + next(n for n, each in enumerate(RICH_NOTIFIERS) if each["name"] == name))


def _as(name: str, without: str = "", **fields: Any) -> tuple[tuple[str, int], dict[str, Any]]:
    """Return the place of a notifier, and the notifier with other fields."""
    found = next(each for each in RICH_NOTIFIERS if each["name"] == name)
    return _at(name), {key: value for key, value in {**found, **fields}.items() if key != without}


NOTIFIER_EDITS: tuple[tuple[str, tuple[str | int, ...], Any], ...] = (
    ("notifiers[].url", (*_at("hook"), "url"), "http://127.0.0.1:2/hook"),
    ("notifiers[].url", (*_at("duty"), "url"), "https://events.eu.pagerduty.com"),
    ("notifiers[].url_env", (*_at("feishu"), "url_env"), "OTHER"),
    ("notifiers[].url_file", *_as("wecom", "url_env", url_file="/url")),
    ("notifiers[].url_file", *_as("hook", "url", url_file="/url")),
    ("notifiers[].max_alerts", (*_at("hook"), "max_alerts"), 7),
    ("notifiers[].urls", (*_at("am"), "urls"), ["http://127.0.0.1:2", "http://127.0.0.1:3"]),
    ("notifiers[].ends_after", (*_at("am"), "ends_after"), "2h"),
    ("notifiers[].headers", (*_at("hook"), "headers"), {"X-Tenant": "b"}),
    ("notifiers[].host", (*_at("mail"), "host"), "other.example"),
    ("notifiers[].port", (*_at("mail"), "port"), 2525),
    ("notifiers[].security", (*_at("mail"), "security"), "tls"),
    ("notifiers[].username", (*_at("mail"), "username"), "w"),
    ("notifiers[].password_env", *_as("mail", "password_file", password_env="MAIL")),
    ("notifiers[].password_file", (*_at("mail"), "password_file"), "/p2"),
    ("notifiers[].from", (*_at("mail"), "from"), "Alerts <c@example.org>"),
    ("notifiers[].to", (*_at("mail"), "to"), ["d@example.org"]),
    ("notifiers[].cc", (*_at("mail"), "cc"), ["e@example.org"]),
    ("notifiers[].reply_to", (*_at("mail"), "reply_to"), "f@example.org"),
    ("notifiers[].hello", (*_at("mail"), "hello"), "here.example"),
    ("notifiers[].html", (*_at("mail"), "html"), False),
    ("notifiers[].language", (*_at("dingtalk"), "language"), "zh"),
    ("notifiers[].secret_env", (*_at("feishu"), "secret_env"), "OTHER"),
    ("notifiers[].secret_file", *_as("feishu", "secret_env", secret_file="/secret")),
    ("notifiers[].routing_key_env", (*_at("duty"), "routing_key_env"), "OTHER"),
    ("notifiers[].routing_key_file", *_as("duty", "routing_key_env", routing_key_file="/key")),
    ("notifiers[].api_key_env", (*_at("genie"), "api_key_env"), "OTHER"),
    ("notifiers[].api_key_file", *_as("genie", "api_key_env", api_key_file="/key")),
    ("notifiers[].channel", (*_at("second"), "channel"), "#another"),
    ("notifiers[].token_env", (*_at("second"), "token_env"), "B"),
    ("notifiers[].chart", (*_at("second"), "chart"), False),
    ("notifiers[].teams", (*_at("genie"), "teams"), ["gpu"]),
    *(
        (f"notifiers[].responders[].{name}", (*_at("genie"), "responders", at, name), value)
        for at, name, value in (
            (0, "type", "escalation"),
            (0, "name", "day"),
            (1, "username", "b@c.d"),
            (2, "id", "u2"),
        )
    ),
    ("notifiers[].tags", (*_at("genie"), "tags"), ["llm"]),
    ("notifiers[].command", (*_at("program"), "command"), ["/bin/true", "b"]),
    ("notifiers[].timeout", (*_at("program"), "timeout"), "3s"),
    ("notifiers[].environment", (*_at("program"), "environment"), {"TEAM": "gpu"}),
    ("notifiers[].tls", (*_at("teams"), "tls"), {"ca_file": "/ca2"}),
    ("notifiers[].authorization", (*_at("hook"), "authorization"), {"credentials_env": "E"}),
    ("notifiers[].proxy_url", *_as("teams", proxy_url=PROXY)),
    ("notifiers[].proxy_url", *_as("duty", proxy_url=PROXY)),
    ("notifiers[].no_proxy", *_as("hook", proxy_url=PROXY, no_proxy=".svc")),
    ("notifiers[].proxy_from_environment", *_as("genie", proxy_from_environment=True)),
    ("notifiers[].oauth2", *_as("am", "basic_auth", oauth2=OAUTH2)),
    ("notifiers[].basic_auth", (*_at("am"), "basic_auth"), {"username": "w", "password_file": "/p"}),
)
"""(field of the reference, where in RICH, new value)."""
