"""Rows of the database that are not alerts or rollouts: tokens, keys, usage, costs, backup runs, acts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from controlplane.access.gateway_keys import GatewayKey, GatewayKeyStore, KeyProperties, KeyRole
from controlplane.access.roles import Role
from controlplane.access.tokens import TokenStore
from controlplane.config.model import Fleet
from controlplane.cost.ledger import CostLedger
from controlplane.gateway.desired.document import LimitSpec
from controlplane.store.audit import REFUSED, audit
from controlplane.store.backups.runs import BackupOutcome, BackupResult, BackupRunStore
from controlplane.store.database import Database
from controlplane.store.gateways import GatewayStore, Report
from controlplane.store.usage import UsageBatch, UsageStore, UsageSums
from tests.e2e.bad_day.curves import HOUR_S
from tests.e2e.bad_day.engines import INPUT_TOKENS, OUTPUT_TOKENS
from tests.e2e.bad_day.story import EIGHT

DAY_S = 86400.0
MIB = 2**20
TOKENS = {role: f"cp_{number:012x}_{f'{number:x}' * 32}" for number, role in enumerate(Role, start=0xA0)}
"""The access token of each role."""
_KEYS = (
    KeyProperties("production", "search", models=("embed", "rerank"), limits=LimitSpec(requests_per_minute=6000)),
    KeyProperties("production", "assistant", limits=LimitSpec(tokens_per_minute=400_000, daily_usd=120.0)),
    KeyProperties("nightly-evals", "assistant", KeyRole.TESTER, models=("chat", "code"), priority=-1),
    KeyProperties("batch", "documents", limits=LimitSpec(monthly_tokens=2_000_000_000, concurrent=32), priority=-5),
    KeyProperties("trial", "partner-a-with-a-long-name", limits=LimitSpec(daily_tokens=50_000)),
    KeyProperties("old", "search"),
)
_PARTS = {"assistant": 0.55, "documents": 0.3, "partner-a-with-a-long-name": 0.02, "search": 0.13}
"""Share of the requests of each tenant."""


def tokens(db: Database, now: float) -> None:
    """Store a token of each role but the bootstrap admin's, and some that are expired or revoked."""
    store = TokenStore(db)
    store.add(TOKENS[Role.ADMIN], "root", Role.ADMIN, None, now - 40 * DAY_S, by="bootstrap")
    names = {Role.VIEWER: "wallboard", Role.OPERATOR: "ana", Role.GATEWAY: "edge", Role.ALERT_SENDER: "prometheus"}
    for role, name in names.items():
        store.add(TOKENS[role], name, role, None, now - 30 * DAY_S, by="root")
    store.create("ben", Role.OPERATOR, None, now - 20 * DAY_S, by="root")
    store.create("ci-deployer", Role.OPERATOR, now + 60 * DAY_S, now - 20 * DAY_S, by="root")
    store.create("auditor", Role.VIEWER, now - 3 * HOUR_S, now - 9 * DAY_S, by="root")
    lost, _ = store.create("laptop-of-cleo", Role.ADMIN, None, now - 5 * DAY_S, by="root")
    store.revoke(lost.id, now - 26 * HOUR_S, by="root")


def keys_and_usage(db: Database, fleet: Fleet, now: float) -> None:
    """Store the gateways' keys, a day of their usage by the hour, and this month's costs."""
    store = GatewayKeyStore(db)
    made = [store.create(wanted, now - (12 - n) * DAY_S, by="root")[0] for n, wanted in enumerate(_KEYS)]
    store.revoke(made[-1].id, now - 2 * DAY_S, by="ana")
    prices = {model.name: model.gateway.price for model in fleet.models}

    def money(sums: UsageSums) -> float | None:
        price = prices.get(sums.model)
        if price is None:
            return None
        return (sums.prompt_tokens * price.input_usd + sums.completion_tokens * price.output_usd) / 1e6

    rows = list(_usage(made, now))
    UsageStore(db).take(UsageBatch("edge-1", "past", 1, len(rows), rows), money)
    if fleet.cost is not None:
        ledger = CostLedger(db, fleet.cost, max_gap_s=40 * DAY_S)
        month = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        gpus = {
            "chat": 12.0,
            "code": 6.0,
            "summarise": 6.0,
            "guard": 4.0,
            "rerank": 4.0,
            "translate": 4.0,
            "embed": 2.0,
        }
        for at in (month.timestamp(), now - 20.0):
            ledger.tick(at, gpus)


def _usage(keys: list[GatewayKey], now: float) -> Iterator[UsageSums]:
    by_tenant = {key.tenant: key for key in reversed(keys[:-1])}
    for hour in range(30 * 24, -1, -1):
        if hour > 24 and hour % 6:
            continue
        at = int((now - hour * HOUR_S) // 60 * 60)
        times = HOUR_S if hour <= 24 else 6 * HOUR_S
        for story in (story for story in EIGHT if story.gateway):
            for tenant, part in _PARTS.items():
                day = 0.45 + 0.35 * abs(((at / HOUR_S) % 24) - 12) / 12
                for outcome, share in (("success", 0.995), ("error", 0.004), ("timeout", 0.001)):
                    requests = max(1, round(story.peak_rps * day * times * part * share))
                    prompt, answer = round(requests * INPUT_TOKENS), round(requests * OUTPUT_TOKENS)
                    yield UsageSums(
                        *(
                            at,
                            tenant,
                            by_tenant[tenant].id,
                            story.name,
                            story.stable,
                            outcome,
                            requests,
                            prompt,
                            answer,
                        ),
                        *(prompt // 3, 0, requests * story.median_s, requests * story.median_s * 0.3, requests),
                    )


def backups(db: Database, now: float) -> None:
    """Store runs of the backup jobs: good, failed, cut short, and too old."""
    store = BackupRunStore(db)

    def run(
        job: str, hours_ago: float, outcome: BackupOutcome, words: str = "", size: int = 0, took_s: float = 90.0
    ) -> None:
        began = store.begin(job, None, now - hours_ago * HOUR_S)
        ended = now - hours_ago * HOUR_S + took_s
        good = outcome is BackupOutcome.SUCCEEDED
        store.progress(began.id, size, size, None)
        result = BackupResult(
            outcome, words, f"{began.id:08x}" if good else "", ended if good else None, size, size // 30
        )
        store.finish(began.id, result if good else BackupResult(outcome, words), None, ended)

    gone = "/srv/adapters: No such file or directory; is a disk not mounted?"
    slow = "the repository did not answer within 60 s: HTTP 503 Slow Down"
    for days in range(6, 0, -1):
        run("weights", days * 24.0, BackupOutcome.SUCCEEDED, size=(41_200 + 900 * (6 - days)) * MIB, took_s=340.0)
        run("adapters", days * 24.0 - 1, BackupOutcome.SUCCEEDED, size=2_100 * MIB, took_s=31.0)
    run("weights", 8.0, BackupOutcome.INTERRUPTED, "the control plane ended while the backup ran", took_s=12.0)
    run("weights", 2.0, BackupOutcome.SUCCEEDED, size=46_900 * MIB, took_s=355.0)
    run("adapters", 3.0, BackupOutcome.FAILED, gone, took_s=0.4)
    run("datasets", 41.0, BackupOutcome.SUCCEEDED, size=611_000 * MIB, took_s=4_100.0)
    run("datasets", 17.0, BackupOutcome.FAILED, slow, took_s=62.0)
    for hours in range(9, 4, -1):
        run("plane", float(hours), BackupOutcome.SUCCEEDED, size=38 * MIB, took_s=2.0)
    run("verify", 30.0, BackupOutcome.SUCCEEDED, "2,214 packs were read, and are whole", took_s=900.0)


def acts(db: Database, now: float) -> None:
    """Store acts for the audit trail that no other part of the world makes."""
    told = (
        (20.0, "root", "config.reload", "config/fleet.yaml", "added backend http://127.20.1.4 to chat v3"),
        (14.2, "unknown", REFUSED, "token/cp_5f3a", "a wrong token, from 10.3.8.41"),
        (14.1, "unknown", REFUSED, "token/cp_5f3a", "a wrong token, from 10.3.8.41"),
        (6.5, "ben", "notifier.test", "notifier/pager", "sent a test message"),
        (2.8, "ana", "backup.run", "backup/adapters", "asked for a backup now"),
        (
            0.6,
            "prometheus",
            "config.refuse",
            "config/fleet.yaml",
            "models[3].stable: v9 is none of the versions v1, v2",
        ),
    )
    with db.transaction() as session:
        for hours, actor, action, subject, detail in told:
            audit(session, actor, action, subject, detail, now - hours * HOUR_S)


def left_gateway(db: Database) -> None:
    """Store a gateway that has left."""
    GatewayStore(db).report(
        Report("edge-0", "old", "0.1.0", "10.3.0.10:8400", 8, ready=False, revision=""), leaving=True
    )
