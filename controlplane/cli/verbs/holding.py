"""The verbs about silences and acknowledgements. They use the control plane's HTTP API."""

from __future__ import annotations

from controlplane.cli.verbs.grammar import Operand, Option, Verb
from controlplane.cli.verbs.options import LISTING

ALERTS_TAKEN = Operand(
    "alerts", "ALERT…", "Their names or ids, as `alerts list` prints them.", many=True, offers="alerts"
)
MATCHERS = Operand(
    "matchers", "MATCHER…", "Conditions on labels: model=chat, severity!=critical, 'node=~gpu-1.*'.", many=True
)
SILENCE = Operand("identifier", "ID", "The id that `silences list` prints.", offers="silences")
NOTE = Option("comment", "Words for the audit trail.", "TEXT")

HOLDING = (
    Verb(
        "alerts ack",
        "holding.acknowledging:alerts_ack",
        "Take care of firing alerts: no more notifications until they resolve.",
        (ALERTS_TAKEN,),
        (NOTE, *LISTING),
        examples=(
            ("alerts ack 9d08cd7d", "by id"),
            ("alerts ack LLMModelDown --comment 'driver crash, rebooting'", "by name, with words"),
        ),
        details="An alert that fires again after it has resolved is not acknowledged, and neither is one of a higher "
        "severity. The resolved notice is sent.",
    ),
    Verb(
        "alerts snooze",
        "holding.acknowledging:alerts_snooze",
        "Hold firing alerts back for a time; they are notified again after it.",
        (ALERTS_TAKEN,),
        (Option("for_", "How long, such as 1h.", "DURATION", required=True), NOTE, *LISTING),
        examples=(("alerts snooze 9d08cd7d --for 1h", ""),),
    ),
    Verb(
        "alerts unack",
        "holding.acknowledging:alerts_unack",
        "Take acknowledgements and snoozes back.",
        (ALERTS_TAKEN,),
        (NOTE, *LISTING),
        examples=(("alerts unack 9d08cd7d", ""),),
    ),
    Verb(
        "silences list",
        "holding.silences:silences_list",
        "List silences, with the number of alerts that each mutes now.",
        options=(
            Option(
                "state",
                "open (pending and active), pending, active, expired or all.",
                "STATE",
                default="open",
                choices=("open", "pending", "active", "expired", "all"),
            ),
            *LISTING,
        ),
        examples=(("silences list", ""), ("silences list --state expired", "those of the last two weeks")),
    ),
    Verb(
        "silences show",
        "holding.silences:silences_show",
        "Show one silence, and the alerts that it matches now.",
        (SILENCE,),
        LISTING,
        examples=(("silences show 3f2a9c10", ""),),
    ),
    Verb(
        "silences add",
        "holding.silences:silences_add",
        "Hold back every alert that matches, for a time.",
        (MATCHERS,),
        (
            Option("for_", "How long, such as 2h.", "DURATION"),
            Option("until", "Its end: RFC 3339 or unix seconds. Instead of --for.", "TIME"),
            Option("from_", "Its begin: RFC 3339, unix seconds, or a duration from now; by default now.", "TIME"),
            Option("comment", "The reason, such as 'new driver': alerts and reminders show it.", "TEXT", required=True),
            *LISTING,
        ),
        examples=(
            ("silences add model=chat --for 2h --comment 'new driver'", ""),
            ("silences add node=gpu-17 --from 2026-12-05T02:00:00Z --for 4h --comment 'new disks'", "maintenance"),
        ),
        details="A silence without an equality matcher, and one of more than 30 days, needs an admin. 15 minutes "
        "before the end of a silence that still holds firing alerts back, a notice says so.",
    ),
    Verb(
        "silences extend",
        "holding.silences:silences_extend",
        "Let a silence end this long from now.",
        (SILENCE,),
        (Option("for_", "How long from now, such as 2h.", "DURATION", required=True), *LISTING),
        examples=(("silences extend 3f2a9c10 --for 2h", ""),),
    ),
    Verb(
        "silences expire",
        "holding.silences:silences_expire",
        "End silences now; alerts that still fire are notified.",
        (Operand("identifiers", "ID…", "The ids that `silences list` prints.", many=True, offers="silences"),),
        (NOTE, *LISTING),
        examples=(("silences expire 3f2a9c10", ""),),
    ),
    Verb(
        "silences preview",
        "holding.silences:silences_preview",
        "Show what a silence would hold back now, and make none.",
        (MATCHERS,),
        LISTING,
        examples=(("silences preview model=chat 'severity!=critical'", ""),),
    ),
)
