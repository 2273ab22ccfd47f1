"""Messages that the tests of notifiers send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from alerts.interfaces import AlertInstance, AlertState, Flap, Message, Notice, Storm, StormCount

FIRED_AT = 1_700_000_060.25
HOSTILE = "chat\r\nBcc: all@example\n• ~all is well~ <!channel> @all <at id=all></at> [x](http://evil)\u202e\x1b[0m"
"""A label with line breaks, mentions, markup and characters that cannot be printed."""


def alert(model: str, state: AlertState = AlertState.FIRING, /, **labels: str) -> AlertInstance:
    own = {"alertname": "LLMErrorRateHigh", "model": model, "severity": "critical", **labels}
    return AlertInstance(
        rule="builtin:llm;llm-requests;LLMErrorRateHigh",
        labels=tuple(sorted(own.items())),
        annotations=(
            ("runbook_url", "https://runbooks.example/LLMErrorRateHigh.md"),
            ("summary", f"5% of requests to {model} fail"),
        ),
        state=state,
        value=0.05,
        active_at=1_700_000_000.0,
        fired_at=FIRED_AT,
        resolved_at=None if state is AlertState.FIRING else 1_700_000_300.0,
    )


FIRING = Message(
    group_key='ops{alertname="LLMErrorRateHigh"}',
    receiver="ops",
    status="firing",
    group_labels=(("alertname", "LLMErrorRateHigh"), ("model", "chat")),
    firing=(alert("chat"),),
    resolved=(),
    sequence=1,
    generation=7,
    console_url="http://console.example/alerts",
    sent_at=datetime.fromtimestamp(1_700_000_070, UTC),
)
RESOLVED = replace(FIRING, status="resolved", firing=(), resolved=(alert("chat", AlertState.INACTIVE),), sequence=2)
NOTICE = replace(
    FIRING, status="notice", firing=(), notice=Notice("Promotion of chat to v2 failed", "It did not load.")
)
EDIT = replace(NOTICE, sequence=3, edit=True)
HUGE = replace(
    FIRING,
    firing=tuple(alert("m" * 4000, version=f"v{n}") for n in range(300)),
    group_labels=(("model", "m" * 4000),),
)
"""A group beyond every receiver's limits."""
ATTACK = replace(FIRING, group_labels=(("alertname", HOSTILE),), firing=(alert(HOSTILE),))
STORM = replace(
    FIRING,
    group_labels=(("node", HOSTILE),),
    firing=tuple(alert("chat", node=HOSTILE, gpu=str(n)) for n in range(30)),
    storm=Storm("node", HOSTILE, 12, (StormCount(HOSTILE, "critical", 30),), (f"rollout of {HOSTILE}",)),
    flaps=(Flap(alert("chat", node=HOSTILE, gpu="0").fingerprint, 5, 300.0, FIRED_AT),),
)
OVER = replace(STORM, status="resolved", firing=(), flaps=(), sequence=2, storm=Storm("node", "n1", 0, (), (), 3))
"""The end of a storm of which all alerts still fire: it has no alert."""
