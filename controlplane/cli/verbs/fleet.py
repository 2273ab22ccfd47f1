"""The verbs about the fleet of a running control plane. They use its HTTP API."""

from __future__ import annotations

from controlplane.cli.verbs.grammar import Operand, Option, Verb, whole
from controlplane.cli.verbs.options import (
    CLOSE,
    CONTEXT,
    LISTING,
    URL,
    WATCH,
    limit,
)

LOOK = (
    Verb(
        "status",
        "look:status",
        "Show the whole fleet on one screen: models, targets, alerts, GPUs.",
        options=(WATCH, *LISTING),
        examples=(("status", "once"), ("status --watch", "until Ctrl-C"), ("status -o json", "for a program")),
    ),
    Verb(
        "top",
        "screens.top:top",
        "Show requests, latency, cache and GPUs as they change; once when piped.",
        options=(
            Option("interval", "Time between two refreshes.", "DURATION", default="2s"),
            Option("once", "Print once and exit."),
            *LISTING,
        ),
        examples=(
            ("top", "until Ctrl-C"),
            ("top --interval 5s", "less often"),
            ("top --once -o json", "for a program"),
        ),
    ),
    Verb(
        "targets",
        "look:targets",
        "List the scrape targets and the result of their last scrape.",
        options=(
            Option("dropped", "List the endpoints that relabel_configs drop instead, each with the rule that does."),
            Option("search", "With --dropped: only those with this text in a label, such as a pod's name.", "TEXT"),
            Option("limit", "With --dropped: maximum number of endpoints.", "N", default=100, read=whole(1, 1000)),
            *LISTING,
        ),
        examples=(
            ("targets", ""),
            ("targets -o yaml", "with labels and every error"),
            ("targets --dropped --search vllm-0", "why this pod is not scraped"),
        ),
    ),
    Verb(
        "gateways",
        "gateways.listing:gateways",
        "List the gateways: state, release, workers, and the generation of each model that they apply.",
        options=LISTING,
        examples=(("gateways", "with requests by version since the generation was applied"),),
    ),
    Verb(
        "usage",
        "gateways.usage:usage",
        "Show requests, tokens and money by tenant and model.",
        options=(
            Option(
                "by",
                "Sum by these, with commas: tenant, key, model, version, outcome, hour, day.",
                "WORDS",
                default="tenant,model",
            ),
            Option(
                "since", "From this time on: RFC 3339, unix seconds, or a duration before now.", "TIME", default="7d"
            ),
            Option("until", "Before this time, in the same forms as --since; by default now.", "TIME"),
            Option("limit", "Maximum number of rows.", "N", default=1000, read=whole(1, 10_000)),
            URL,
            CONTEXT,
            Option(
                "output", "table, json, yaml or csv.", "FORMAT", "-o", "table", choices=("table", "json", "yaml", "csv")
            ),
        ),
        examples=(
            ("usage", "the last seven days"),
            ("usage --by tenant,day --since 31d -o csv", "for a bill"),
            ("usage --by version,outcome --since 1h", "what became of requests"),
        ),
        details="A gateway sends its usage every few seconds. After two days it is kept by the hour.",
    ),
    Verb(
        "models",
        "look:models",
        "List models, their versions and the traffic of each.",
        options=LISTING,
        examples=(("models", ""),),
    ),
    Verb(
        "query",
        "query:query",
        "Evaluate a PromQL expression.",
        (Operand("expression", "EXPR", "PromQL expression."),),
        (
            Option("at", "Time: RFC 3339, unix seconds, or a duration before now (5m); by default now.", "TIME"),
            Option("range", "Length of the range that ends at --at, such as 1h; by default one instant.", "DURATION"),
            Option("step", "Resolution of the range; by default 60 steps.", "DURATION"),
            *LISTING,
        ),
        examples=(
            ("query 'llm_requests_running'", "one value a series"),
            ("query 'sum by (model) (rate(llm_requests_total[1m]))' --range 1h --step 5m", "over an hour"),
            ("query up --at 5m", "five minutes ago"),
        ),
    ),
    Verb(
        "events",
        "history:events",
        "Print events, oldest first: alerts, rollouts, and entries of the audit trail.",
        options=(
            Option("follow", "Go on with new events, until Ctrl-C.", short="-f"),
            Option(
                "kind",
                "Only this kind: alert, rollout or audit.",
                "KIND",
                choices=("alert", "rollout", "audit"),
                many=True,
            ),
            limit(50),
            *LISTING,
        ),
        examples=(
            ("events", "the last fifty"),
            ("events --follow", "and new ones"),
            ("events --kind audit", "only the audit trail"),
        ),
    ),
    Verb(
        "audit",
        "history:audit",
        "Print the audit trail, newest first: every action and its actor. Needs an operator's token.",
        options=(
            Option("actor", "Only actions of this actor: a token's name, or an address.", "ACTOR", offers="actors"),
            Option("action", "Only this action, such as token.create.", "ACTION", many=True, offers="actions"),
            Option("model", "Only actions on this model.", "MODEL", offers="models"),
            Option("subject", "Only actions on this subject, such as token/3f2a9c10.", "KIND/NAME"),
            Option("since", "From this time on: RFC 3339, unix seconds, or a duration before now (2h).", "TIME"),
            Option("until", "Before this time, in the same forms as --since.", "TIME"),
            Option("before", "Only entries older than this id; for the next page.", "ID", read=whole(1, 2**31 - 1)),
            Option("no_refusals", "Leave out refused attempts."),
            limit(50),
            *LISTING,
        ),
        examples=(
            ("audit --no-refusals", "what people and the control plane did"),
            ("audit --model chat --since 24h", "who moved a model today"),
            ("audit --actor ana --action token.create", "which tokens ana made"),
            ("audit --before 4711", "the entries before 4711"),
        ),
    ),
    Verb(
        "slo",
        "slos:slo",
        "List the SLOs: what is left of each error budget, and how fast it is spent.",
        options=(Option("model", "Only SLOs of this model.", "MODEL", offers="models"), *LISTING),
        examples=(("slo", "every error budget"), ("slo --model chat -o json", "for a script")),
        details="The numbers come from the rules of builtin:slo. Until a window is recorded, its SLO is learning.",
    ),
    Verb(
        "schedules",
        "schedules:schedules",
        "List the scheduled jobs: next run, last run and its result.",
        options=LISTING,
        examples=(("schedules", "housekeeping and the usage report"),),
    ),
    Verb(
        "logs",
        "history:logs",
        "Print the control plane's own log. Needs an operator's token.",
        options=(
            Option("follow", "Go on with new lines, until Ctrl-C.", short="-f"),
            Option(
                "level",
                "Only lines of this level or above.",
                "LEVEL",
                default="debug",
                choices=("debug", "info", "warning", "error"),
            ),
            limit(200),
            *LISTING,
        ),
        examples=(("logs", "the last lines"), ("logs --follow --level warning", "warnings as they come")),
        details="The control plane keeps its last thousand lines since its start.",
    ),
    Verb(
        "version",
        "look:version",
        "Print the versions of this program and of the control plane.",
        options=LISTING,
        examples=(("version", ""),),
    ),
)

ALERTS = (
    Verb(
        "alerts list",
        "screens.watch:alerts_list",
        "List alerts, firing ones first.",
        (
            Operand(
                "matchers",
                "MATCHER…",
                "Conditions on labels: model=chat, severity!=critical, 'node=~gpu-1.*'. Without them: all alerts.",
                required=False,
                many=True,
            ),
        ),
        options=(
            Option(
                "state",
                "active, pending, firing, resolved or all.",
                "STATE",
                default="active",
                choices=("active", "pending", "firing", "resolved", "all"),
            ),
            limit(100),
            *LISTING,
        ),
        examples=(
            ("alerts list", "pending and firing"),
            ("alerts list --state resolved", "resolved ones"),
            ("alerts list model=chat 'node=~gpu-1.*'", "those of one model on some nodes"),
        ),
    ),
    Verb(
        "alerts show",
        "screens.watch:alerts_show",
        "Show one alert: its value, labels, runbook and history.",
        (Operand("alert", "ALERT", "Its name or its id, as `alerts list` prints them.", offers="alerts"),),
        LISTING,
        examples=(("alerts show GPUTemperatureHigh", "by name"), ("alerts show 9d08cd7da24ac3ba", "by id")),
        details="A name is enough when only one active alert has it.",
    ),
    Verb(
        "alerts explain",
        "alerting.explain:alerts_explain",
        "Explain who got an alert, what held it back, and what changed around its start.",
        (Operand("alert", "ALERT", "Its name or its id, as `alerts list` prints them.", offers="alerts"),),
        LISTING,
        examples=(("alerts explain GPUTemperatureHigh", "by name"), ("alerts explain 9d08cd7da24ac3ba", "by id")),
        details="For each notifier it names the stage in which the alert is: a silence, an inhibition, a time "
        "interval, a wait, a failed delivery.",
    ),
    Verb(
        "alerts rota",
        "alerting.rota:alerts_rota",
        "Show who is on call now and next, and until when.",
        (Operand("name", "NAME", "A rota's name in fleet.yaml. Without it: all rotas.", required=False),),
        LISTING,
        examples=(("alerts rota", "all rotas"), ("alerts rota primary -o json", "for a script")),
        details="It also shows the gaps of the next 14 days, and events that name nobody in people:.",
    ),
    Verb(
        "notifiers test",
        "screens.watch:notifiers_test",
        "Send a test message and print the receiver's answer.",
        (Operand("name", "NAME", "The notifier's name in fleet.yaml."),),
        CLOSE,
        examples=(("notifiers test ops", ""),),
    ),
)
