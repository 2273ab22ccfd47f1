"""The verbs about rollouts and versions in quarantine. They use the control plane's HTTP API."""

from __future__ import annotations

import json
from typing import Any

from controlplane.cli.verbs.grammar import Operand, Option, Verb, whole
from controlplane.cli.verbs.options import DRY_RUN, LISTING, MODEL, limit

STRATEGIES = ("blue-green", "canary", "rolling", "recreate")
"""The strategies of a rollout. A copy of `rollout.strategies`, whose import takes longer than this program's start."""

NO_WATCH = Option("no_watch", "Return as soon as the rollout is recorded.")
ROLLOUT = Operand("identifier", "ID|MODEL", "The rollout's id, or a model for its newest rollout.", offers="rollouts")
REASON = Option("reason", "The reason; it is kept with the rollout and in the audit trail.", "TEXT")
MOST = 2**31
ENDS = (
    "Exit codes: 0 when the new version serves, 1 when the rollout is refused, failed or went back, 2 for wrong usage, "
    "3 when no control plane answers. Ctrl-C (130) ends only the display: the rollout goes on."
)


def assigned(text: str) -> tuple[str, str]:
    """Return the parts of `NAME=TEXT`. Raises ValueError unless both parts are there."""
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip():
        raise ValueError("expected NAME=TEXT")
    return name.strip(), value.strip()


def field(text: str) -> tuple[tuple[str, ...], Any]:
    """Return path and value of `analysis.interval=30s`. A value that is JSON is read as JSON. Raises ValueError."""
    name, value = assigned(text)
    path = tuple(name.split("."))
    if not all(path):
        raise ValueError("expected a field of `rollout:` and its value, such as analysis.interval=30s")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


SWITCH = (
    Verb(
        "promote",
        "rollouts.start:promote",
        "Switch MODEL to VERSION; returns once that version serves and is verified.",
        (MODEL, Operand("version", "VERSION", "The version to serve, such as v2.", offers="versions")),
        (
            Option("strategy", "blue-green, canary, rolling or recreate.", "NAME", choices=STRATEGIES),
            Option("steps", "Steps of a canary, with commas: 5%, analyse 10m, pause, mirror 20% 5m.", "STEPS"),
            Option("minimum_requests", "Requests before a step may pass.", "N", read=whole(1, MOST)),
            Option("interval", "Time between two looks at the candidate.", "DURATION"),
            Option("failures", "Looks that may fail by a threshold.", "N", read=whole(0, MOST)),
            Option(
                "report_only", "Metric that is reported and never rolls back.", "METRIC", many=True, offers="metrics"
            ),
            Option("deadline", "Longest time without progress, then it rolls back.", "DURATION"),
            Option("approvals", "Approvals before every request goes to VERSION.", "N", read=whole(0, 100)),
            Option("rollback_window", "How long the old version stays loaded.", "DURATION"),
            Option("option", "Any other field of the model's `rollout:`.", "FIELD=VALUE", read=field, many=True),
            Option("attest", "Attest an item of the checklist.", "ITEM=TEXT", read=assigned, many=True),
            Option("allow_downtime", "Allow a switch that nothing serves during."),
            Option("override_freeze", "Start inside a freeze window; for admins.", "REASON"),
            Option("full", "Skip steps, pauses and analyses of the canary."),
            DRY_RUN,
            NO_WATCH,
            *LISTING,
        ),
        examples=(
            ("promote model v2", "switch, and wait until v2 is verified"),
            ("promote model v2 --dry-run", "only print what would happen"),
            ("promote chat v2 --strategy canary --steps 5%,25% --minimum-requests 500", "in steps"),
            ("promote chat v2 --approvals 1 --deadline 2h", "wait for an approval before 100%"),
            ("promote chat v2 --attest 'load test=https://ci/412'", "attest an item"),
            ("promote chat v2 --option analysis.patience=1h", "set any field of `rollout:`"),
        ),
        details="An option overrides the field of the same name in the model's `rollout:` of fleet.yaml. " + ENDS,
    ),
    Verb(
        "rollback",
        "rollouts.start:rollback",
        "Switch MODEL back to its previous version; a running rollout is reversed.",
        (MODEL,),
        (
            Option("to", "The version to go back to; by default the previous one.", "VERSION", offers="versions"),
            REASON,
            Option("no_quarantine", "Leave the present version out of quarantine: it is not to blame."),
            DRY_RUN,
            NO_WATCH,
            *LISTING,
        ),
        examples=(
            ("rollback model", ""),
            ("rollback model --to v1 --reason 'v2 cuts answers'", "to a named version"),
            ("rollback model --dry-run", "say how long it would take, and do nothing"),
        ),
        details=ENDS,
    ),
    Verb(
        "rollouts list",
        "rollouts.listing:rollouts_list",
        "List rollouts, the newest first.",
        options=(Option("model", "Only this model's.", "MODEL", offers="models"), limit(20), *LISTING),
        examples=(("rollouts list", ""), ("rollouts list --model chat --limit 5", "the last five of one model")),
    ),
    Verb(
        "rollouts show",
        "rollouts.listing:rollouts_show",
        "Show one rollout: its steps, time left, weights, verdicts and history.",
        (ROLLOUT,),
        LISTING,
        examples=(("rollouts show r-50ea2a43", ""), ("rollouts show chat", "the newest one of a model")),
    ),
    Verb(
        "rollouts watch",
        "rollouts.listing:rollouts_watch",
        "Follow a rollout to its end; exit 1 when it failed or was rolled back.",
        (ROLLOUT,),
        LISTING,
        examples=(("rollouts watch r-50ea2a43", ""), ("rollouts watch chat", "the newest one of a model")),
        details="On a terminal progress, weights and the last verdict stay below the events. A pipe gets one line an "
        "event. A control plane that restarts is tried again for ten minutes. " + ENDS,
    ),
)

STEER = (
    Verb(
        "rollouts pause",
        "rollouts.steering:rollouts_pause",
        "Stop a running rollout before its next step; looks at the candidate go on.",
        (ROLLOUT,),
        (REASON, *LISTING),
        examples=(("rollouts pause chat --reason 'incident 412'", ""),),
    ),
    Verb(
        "rollouts resume",
        "rollouts.steering:rollouts_resume",
        "End a pause, also a timed one before its time.",
        (ROLLOUT,),
        (REASON, *LISTING),
        examples=(("rollouts resume chat", ""),),
    ),
    Verb(
        "rollouts approve",
        "rollouts.steering:rollouts_approve",
        "Approve the step that a rollout waits for.",
        (ROLLOUT,),
        (Option("full", "Skip the remaining steps: every request goes to the candidate."), REASON, *LISTING),
        examples=(
            ("rollouts approve chat", ""),
            ("rollouts approve chat --full --reason 'v1 is failing'", "skip pauses and analyses"),
        ),
        details="The person who started a rollout cannot approve it, and each person counts once.",
    ),
    Verb(
        "rollouts abort",
        "rollouts.steering:rollouts_abort",
        "Roll a running rollout back to the stable version.",
        (ROLLOUT,),
        (REASON, *LISTING),
        examples=(("rollouts abort r-50ea2a43", ""), ("rollouts abort chat --reason 'wrong version'", "")),
    ),
    Verb(
        "rollouts retry",
        "rollouts.steering:rollouts_retry",
        "Start the same rollout again, with the same version and options.",
        (ROLLOUT,),
        (NO_WATCH, *LISTING),
        examples=(("rollouts retry r-50ea2a43", ""),),
        details="A version in quarantine must be lifted first. " + ENDS,
    ),
    Verb(
        "rollouts close",
        "rollouts.steering:rollouts_close",
        "Close a rollout whose record cannot be read, so that another one can begin; engines stay as they are.",
        (Operand("identifier", "ID", "The rollout's id.", offers="rollout_ids"),),
        LISTING,
        examples=(("rollouts close r-50ea2a43", ""),),
    ),
)

QUARANTINE = (
    Verb(
        "quarantine",
        "rollouts.quarantine:quarantine",
        "List the versions that were rolled back and cannot be promoted.",
        options=LISTING,
        examples=(("quarantine", ""),),
    ),
    Verb(
        "quarantine lift",
        "rollouts.quarantine:quarantine_lift",
        "Lift the quarantine of a version, so that it can be promoted again; for admins.",
        (MODEL, Operand("version", "VERSION", "The version in quarantine.", offers="versions")),
        (Option("reason", "The reason, for the audit trail.", "TEXT", required=True), *LISTING),
        examples=(("quarantine lift chat v2 --reason 'the prompt template is fixed'", ""),),
    ),
)
