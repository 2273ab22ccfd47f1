"""The control plane put together, over a real database: how it starts, reloads and stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.access import Role, TokenStore
from controlplane.access.gatekeeper import Attempt
from controlplane.app.check import inspect_file
from controlplane.app.services import build_services
from controlplane.app.wiring import ControlPlane, running
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigError, ConfigErrors
from controlplane.fleet.log_ring import LogRing
from controlplane.metrics.write.remote_write_codec import decode
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database, Patience
from controlplane.store.lease import LeaseStore
from controlplane.store.migrate import migrate
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue
from controlplane.store.revision import RevisionStore
from tests.patience import until

Write = Callable[[str], LoadedFleet]
TOKEN = "cp_0123456789ab_" + "a" * 64


@asynccontextmanager
async def started(loaded: LoadedFleet, folder: Path) -> AsyncIterator[tuple[ControlPlane, Database]]:
    async with running(loaded, folder, TOKEN, "127.0.0.1:8080", observe_only=False) as parts:
        yield parts


async def test_it_starts_ready_with_leases_and_a_token_and_gives_the_leases_back(fleet: Write, tmp_path: Path) -> None:
    async with started(fleet(""), tmp_path) as (plane, db):
        assert plane.not_ready() == {"discovery": "targets have not been read yet"}
        await until(lambda: not plane.not_ready())
        await until(lambda: sum(loop.holding and loop.leased for loop in plane.loops.stats()) == 3)
        (token,) = TokenStore(db).list()
        assert (token.id, token.role) == ("0123456789ab", Role.ADMIN)
        held = {lease.name for lease in LeaseStore(db).list() if lease.holder == plane.holder}
        assert held == {"alerting", "rollouts", "ledger"}
    after = Database(f"sqlite:///{tmp_path / 'controlplane.db'}")
    assert all(lease.holder == "" for lease in LeaseStore(after).list())
    after.close()


async def test_a_message_that_a_killed_process_was_sending_is_sent_at_once_at_the_next_start(
    fleet: Write, tmp_path: Path
) -> None:
    before = Database(f"sqlite:///{tmp_path / 'controlplane.db'}")
    migrate(before)
    with before.transaction() as session:
        enqueue(session, "alert", "nobody", "m1", {}, 0.0)
    (claimed,) = OutboxStore(before).claim("killed", time.time(), 3000.0, 1)
    before.close()
    async with started(fleet(""), tmp_path) as (_, db):

        def tried() -> bool:
            entry = OutboxStore(db).get(claimed.message_id)
            return entry is not None and entry.attempts == 2 and entry.status is OutboxStatus.DEAD

        await until(tried)


async def test_a_reload_says_what_changed_and_tells_the_console(fleet: Write, tmp_path: Path) -> None:
    async with started(fleet("evaluation_interval: 5s\n"), tmp_path) as (plane, db):
        before = RevisionStore(db).latest()
        warning = str(*inspect_file(tmp_path / "fleet.yaml").findings)
        assert "nothing is scraped" in warning
        assert await plane.reload("test") == ["nothing changed", warning]
        fleet("evaluation_interval: 6s\nthresholds: {temperature: {value: 80}}\ndatabase: sqlite:////tmp/other.db\n")
        assert await plane.reload("test") == [
            "evaluation_interval changed",
            "thresholds changed",
            "alerting: rule groups: 1 changed (builtin:gpu;gpu), 13 kept",
            "alerting: groups without an interval are evaluated every 6s",
            "database changed: takes effect at the next start",
            warning,
        ]
        assert plane.config().evaluation_interval == 6
        assert [r.kind for r in RevisionStore(db).since(before) if r.kind == "config"] == ["config", "config"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("targets: [{engine: vllm}]\n", "needs addresses"),
        ("thresholds: {nope: {value: 1}}\n", "thresholds.nope: is not known"),
        ("rules: [missing.yml]\n", "missing.yml: cannot be read: No such file or directory"),
        ("notifications: {alertmanager_config: am.yml}\n", "am.yml:3: route: receiver nobody is not in"),
    ],
)
async def test_a_bad_file_keeps_the_running_configuration(
    fleet: Write, tmp_path: Path, bad: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(fleet("evaluation_interval: 5s\n"), tmp_path) as (plane, _):
        groups = plane.alerting.groups
        (tmp_path / "am.yml").write_text("receivers: [{name: a}]\nroute:\n  receiver: nobody\n")
        (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\n" + bad)
        with pytest.raises(ConfigErrors, match=message):
            await plane.reload("test")
        assert plane.config().evaluation_interval == 5
        assert plane.alerting.groups == groups
        await plane.reload_and_say()
        told = [
            record.getMessage() for record in caplog.records if "the old configuration stays" in record.getMessage()
        ]
        errors = inspect_file(tmp_path / "fleet.yaml").errors
        assert list(dict.fromkeys(told)) == [f"configuration: {error}; the old configuration stays" for error in errors]


async def test_it_answers_to_the_names_that_it_was_given(fleet: Write, tmp_path: Path) -> None:
    loaded = fleet("")
    (tmp_path / "fleet.yaml").write_text("fleet: {name: test, external_url: 'https://CP.example.org/x/'}\n")
    async with started(loaded, tmp_path) as (plane, db):
        services = build_services(plane, db, "node-7", LogRing(0))
        assert services.allowed_hosts() == {"node-7"}
        await plane.reload("test")
        assert services.allowed_hosts() == {"node-7", "cp.example.org"}


async def test_alerts_name_the_external_url_that_a_reload_brings(fleet: Write, tmp_path: Path) -> None:
    rule = '{alert: Up, expr: vector(1), annotations: {summary: "{{ $externalURL }}/wiki"}}'
    (tmp_path / "up.yml").write_text(f"groups: [{{name: g, rules: [{rule}]}}]\n")
    body = "rules: [up.yml]\nevaluation_interval: 1s\n"

    def summaries(db: Database) -> list[str]:
        return [dict(alert.annotations)["summary"] for alert in SqlAlertLog(db).active()]

    async with started(fleet(body), tmp_path) as (plane, db):
        await until(lambda: summaries(db) == ["http://127.0.0.1:8080/wiki"])
        text = "fleet: {name: test, external_url: 'https://cp.example/ops/'}\n" + body
        (tmp_path / "fleet.yaml").write_text(text)
        await plane.reload("test")
        await until(lambda: summaries(db) == ["https://cp.example/ops/wiki"])


async def test_it_scrapes_itself_once_it_is_told_how(fleet: Write, tmp_path: Path) -> None:
    async with started(fleet("scrape: {interval: 1s}\n"), tmp_path) as (plane, _):
        plane.watch_itself(lambda: b"controlplane_answer 42\n")
        plane.loops.wake("discovery")
        await until(lambda: [t for t in plane.scraping.health() if t.health == "up"])
        value = await plane.metrics.querier.instant("controlplane_answer", plane.clock.now())
        assert [(dict(s.labels)["job"], s.value) for s in value] == [("controlplane", 42.0)]


async def test_a_reload_replaces_only_the_drivers_of_models_that_changed(fleet: Write, tmp_path: Path) -> None:
    def models(port_of_b: int) -> str:
        traffic = '{{driver: triton, backends: [{{url: "{}"}}]}}'
        one = "- {{name: {}, stable: v1, versions: {{v1: {{}}}}, traffic: " + traffic + "}}\n"
        return "models:\n" + one.format("a", "http://127.0.0.1:1") + one.format("b", f"http://127.0.0.1:{port_of_b}")

    async with started(fleet(models(1)), tmp_path) as (plane, _):
        before = plane.rolling.engine.drivers
        fleet(models(2) + "evaluation_interval: 5s\n")
        await plane.reload("test")
        after = plane.rolling.engine.drivers
        assert after["a"] is before["a"]
        assert after["b"] is not before["b"]
        assert (await after["a"].observe()).backends[0].error != ""
        assert "the configuration has just changed" not in (await after["a"].observe()).backends[0].error
        assert "the configuration has just changed" in (await before["b"].observe()).backends[0].error


async def test_where_another_server_is_asked_it_is_asked_and_readiness_says_when_it_is_away(
    fleet: Write, tmp_path: Path
) -> None:
    asked = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prometheus"
    async with started(fleet(f"metrics: {{query_url: '{url}'}}\n"), tmp_path) as (plane, _):
        assert plane.metrics.querier is plane.metrics.remote
        await until(lambda: not plane.not_ready())
        await until(lambda: len(asked) > 5)
        assert {head.split(b"\r\n")[0] for head in asked} == {b"POST /prometheus/api/v1/query HTTP/1.1"}
        server.close()
        await server.wait_closed()
        assert plane.metrics.remote
        await plane.metrics.remote.check()
        why = f"{url} cannot be reached: connection refused; see metrics.query_url"
        assert plane.not_ready() == {"metrics": why}


async def test_what_is_scraped_and_recorded_is_shipped_and_a_restart_goes_on(fleet: Write, tmp_path: Path) -> None:
    taken: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.split("\r\n") if line.startswith("content-length: "))
        body = await reader.readexactly(int(length.removeprefix("content-length: ")))
        taken.extend(dict(series.labels)["__name__"] for series in decode(body).series)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1/write"
    loaded = fleet(f"""
        scrape: {{interval: 1s}}
        evaluation_interval: 1s
        metrics:
          remote_write:
            - {{url: "{url}", name: mine, queue_config: {{batch_send_deadline: 100ms}}}}
            - {{url: "http://127.0.0.1:1/write", name: away, queue_config: {{batch_send_deadline: 100ms}}}}
        models:
          - {{name: m, stable: v1, versions: {{v1: {{}}}}, traffic: {{driver: none}}}}
        """)
    async with started(loaded, tmp_path) as (plane, db):
        services = build_services(plane, db, "127.0.0.1", LogRing(0))
        plane.watch_itself(lambda: b"controlplane_answer 42\n")
        wanted = {"up", "controlplane_answer", "llm_backends_expected", "ALERTS"}
        await until(lambda: wanted <= set(taken))
        await until(lambda: [r for r in services.shipping() if r.endpoint == "away" and r.failing])
        mine, away = services.shipping()
        assert (mine.endpoint, mine.failing, bool(mine.sent)) == ("mine", "", True)
        assert "connection refused" in away.failing
        assert away.sent == 0
    async with started(loaded, tmp_path) as (plane, _):
        assert plane.metrics.shipping()[1].pending >= away.pending
    server.close()


async def test_a_queue_that_cannot_be_kept_is_refused_at_the_start(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "remote-write").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"metrics\.remote_write: .*remote-write.*: (File exists|Not a directory)"):
        async with started(fleet("metrics: {remote_write: {url: 'http://127.0.0.1:1/write'}}\n"), tmp_path):
            pass


async def test_a_reload_of_remote_write_keeps_what_goes_on_and_says_what_cannot(
    fleet: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def endpoints(*names: str) -> str:
        each = ", ".join(f"{{url: 'http://127.0.0.1:1/write', name: {name}}}" for name in names)
        return f"scrape: {{interval: 1s}}\nmetrics: {{remote_write: [{each}]}}\n"

    async with started(fleet(endpoints("one", "two")), tmp_path) as (plane, _):
        plane.watch_itself(lambda: b"controlplane_answer 42\n")
        await until(lambda: all(report.pending for report in plane.metrics.shipping()))
        waiting = plane.metrics.shipping()[0].pending
        (tmp_path / "remote-write" / "four").write_text("a file where the folder should be")
        fleet(endpoints("one", "three", "four"))
        told = await plane.reload("test")
        assert told[1] == "metrics: remote_write: 2 added (three, four), 1 removed (two), 1 kept"
        assert "metrics: nothing is sent to four: " in told[2]
        assert [report.endpoint for report in plane.metrics.shipping()] == ["one", "three"]
        assert plane.metrics.shipping()[0].pending >= waiting
        assert "nothing is sent to four" in plane.not_ready()["remote_write"]
        await until(lambda: plane.metrics.shipping()[1].pending > 0)
        fleet(endpoints("one", "three"))
        await plane.reload("test")
        assert "remote_write" not in plane.not_ready()


async def test_a_changed_endpoint_goes_on_with_the_queue_of_the_one_before(fleet: Write, tmp_path: Path) -> None:
    def endpoint(seconds: int) -> str:
        one = f"{{url: 'http://127.0.0.1:1/write', name: one, remote_timeout: {seconds}s}}"
        return f"scrape: {{interval: 1s}}\nmetrics: {{remote_write: [{one}]}}\n"

    async with started(fleet(endpoint(3)), tmp_path) as (plane, _):
        plane.watch_itself(lambda: b"controlplane_answer 42\n")
        await until(lambda: plane.metrics.shipping()[0].pending > 0)
        waiting = plane.metrics.shipping()[0].pending
        fleet(endpoint(4))
        await plane.reload("test")
        assert plane.metrics.shipping()[0].pending >= waiting


async def test_a_parse_that_takes_long_keeps_nobody_from_signing_in(fleet: Write, tmp_path: Path) -> None:
    let = threading.Event()
    async with started(fleet(""), tmp_path) as (plane, _):
        general = [asyncio.create_task(asyncio.to_thread(let.wait, 60)) for _ in range(40)]
        parsing = [asyncio.create_task(plane.pools.parsing.run(let.wait, 60)) for _ in range(20)]
        files = [asyncio.create_task(plane.pools.files.run(let.wait, 60)) for _ in range(20)]
        await until(lambda: plane.pools.parsing.report().waiting > 0 and plane.pools.files.report().waiting > 0)
        held = [plane.database.engine.connect() for _ in range(Patience().connections + Patience().more)]
        principal = await plane.gatekeeper.by_token(TOKEN, Attempt("127.0.0.1", "a test"), plane.clock.now())
        assert principal.role is Role.ADMIN
        for connection in held:
            connection.close()
        let.set()
        await asyncio.gather(*general, *parsing, *files)
