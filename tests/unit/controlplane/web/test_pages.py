from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.interfaces import AlertState
from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.packs.slos import Slo
from alerts.rules import AlertingRule
from collectors.discovery.group import DroppedTarget
from collectors.relabel import Action, RelabelRule
from collectors.samples import labels_of
from collectors.target import TargetHealth
from controlplane import web
from controlplane.access.roles import Role
from controlplane.access.sessions import SessionStore
from controlplane.config.model import Fleet
from controlplane.errors import QueryError, Unavailable
from controlplane.fleet import assemble
from controlplane.fleet.alerting.explanations import Explanations
from controlplane.fleet.slos import SloList, SloReader, slo_view
from controlplane.fleet.views import GpuView
from controlplane.rollout.attention import Attention, Need
from controlplane.rollout.model import Phase
from controlplane.rollout.stored.records import to_record
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.rollout_log import RolloutLog

PAGES = [
    *("/", "/models/chat", "/targets", "/alerts", "/rollouts", "/query"),
    *("/notifications", "/runbooks", "/runbooks/GPULost.md"),
]
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_renders_and_says_who_is_signed_in(console: Any, path: str) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(path)
    assert "test-viewer <em>viewer</em>" in page
    assert f'hx-get="{path}"' in page


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/nowhere"])
async def test_no_page_has_what_the_content_security_policy_forbids(console: Any, path: str) -> None:
    console.alert()
    async with console.browser(Role.ADMIN) as browser:
        answer = await browser.client.get(path)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r'<script(?![^>]*\bsrc=|\s+type="application/json")', answer.text)
    assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", answer.text)
    assert not re.search(r"<style|(src|href)=\"(https?:)?//", answer.text)


async def test_operators_get_buttons(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/")
    assert 'hx-get="/models/chat/promote/v2"' in page
    assert 'hx-get="/models/chat/promote/v1"' not in page  # it is the stable one
    assert "rollback" not in page  # there is nothing to go back to


async def test_viewers_get_the_reason_instead(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        for path in ("/", "/models/chat"):
            page = await browser.page(path)
            assert "promote/" not in page
            assert "signed in as a viewer" in page


async def test_a_model_that_nothing_can_move_says_so(console: Any) -> None:
    model = {"name": "chat", "stable": "v1", "traffic": {"driver": "none"}, "versions": {"v1": {}, "v2": {}}}
    console.rig.config = Fleet.model_validate({"fleet": {"name": "prod"}, "models": [model]})
    async with console.browser(Role.ADMIN) as browser:
        assert "with driver <code>none</code> the control plane cannot move its traffic" in await browser.page("/")


async def test_one_version_leaves_nothing_to_promote(console: Any) -> None:
    section = console.rig.config.models[0]
    section = section.model_copy(update={"versions": {"v1": section.versions["v1"]}})
    console.rig.config = console.rig.config.model_copy(update={"models": (section,)})
    async with console.browser(Role.ADMIN) as browser:
        assert "there is nothing to promote" in await browser.page("/models/chat")


async def test_drift_is_shown(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = console.rig.rollouts.models

    async def drifted() -> list[Any]:
        return [replace(status, drift="http://a:8000 serves v2") for status in await original()]

    monkeypatch.setattr(console.rig.rollouts, "models", drifted)
    async with console.browser(Role.VIEWER) as browser:
        assert '<p class="warning">http://a:8000 serves v2</p>' in await browser.page("/")
        assert '<p class="warning">http://a:8000 serves v2</p>' in await browser.page("/models/chat")


async def test_an_alert_whose_targets_are_away_is_shown_as_unknown(console: Any) -> None:
    fingerprint = console.alert(away=("dcgm/n1:9400",))
    async with console.browser(Role.VIEWER) as browser:
        for path in ("/", "/alerts", f"/alerts/{fingerprint}"):
            page = await browser.page(path)
            assert '<span class="state unknown" title="No data from dcgm/n1:9400 since ' in page
        assert "no data from dcgm/n1:9400. The alert keeps its state until there is data." in page
        assert "→" not in page.split('aria-label="History"')[1]


async def test_an_alert_says_who_gets_it_and_what_changed_around_its_start(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = console.alert("Hot", model="chat")
    other = console.alert("Cold", model="chat")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/alerts/{fingerprint}")
        notifications, changes = (
            page.split(f'aria-label="{label}')[1].split("</table>")[0]
            for label in ("Notifications of", "Changes around")
        )
        assert "its group opens within a second" in notifications
        assert "<small>route</small>" in notifications
        assert "Cold" in changes
        assert fingerprint not in changes
        assert other != fingerprint

        def away(*_: object) -> None:
            raise Unavailable("the database cannot be reached")

        monkeypatch.setattr(Explanations, "of", away)
        page = await browser.page(f"/alerts/{fingerprint}")
        assert "Hot" in page
        assert "Notifications of" not in page


async def test_labels_annotations_and_targets_stay_text(console: Any) -> None:
    words = {"summary": SCRIPT, "description": SCRIPT, "runbook_url": "javascript:alert(1)"}
    fingerprint = console.alert(SCRIPT, annotations=words, model=SCRIPT, severity=SCRIPT)
    target = replace(console.rig.targets[0].target, labels=labels_of({"team": SCRIPT}))
    console.rig.targets = [TargetHealth(target, "down", last_error=SCRIPT, last_error_reason="http")]
    async with console.browser(Role.ADMIN) as browser:
        for path in ("/", "/targets", "/alerts", f"/alerts/{fingerprint}"):
            page = await browser.page(path)
            assert "&lt;script&gt;alert(1)" in page or path == "/targets"
            assert "<script>alert" not in page
            assert "<img" not in page
            assert 'href="javascript' not in page


async def test_what_is_not_shown_in_a_label_is_an_escape_on_every_page(console: Any) -> None:
    hostile = "x\u202egnp\x1b[2J\x00"
    words = {"summary": hostile, "description": f"one\n{hostile}"}
    fingerprint = console.alert(hostile, annotations=words, model=hostile)
    async with console.browser(Role.ADMIN) as browser:
        for path in ("/", "/alerts", f"/alerts/{fingerprint}"):
            page = await browser.page(path)
            assert r"x\u202egnp\x1b[2J\x00" in page
            assert all(line.isprintable() for line in page.replace("\t", " ").split("\n"))


async def test_needs_attention_lists_what_people_are_told(console: Any) -> None:
    console.alert("Watchdog", severity="none")
    console.alert("Hot", gpu="GPU-1", simulated="true", annotations={"summary": "GPU-1 is at 93 °C"})
    console.alert("Slow", AlertState.PENDING, model="chat", source="probe")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/")
        attention = page[page.index("Needs attention") : page.index('id="models"')]
        assert attention.index("Hot") < attention.index("Slow")  # firing before pending
        assert "GPU-1 is at 93 °C" in attention
        assert "simulated</span>" in attention
        assert "for 10s" in attention
        assert '<span class="label">source=probe</span>' in attention
        assert "Watchdog" not in page
        assert "Watchdog</a> has severity none" in await browser.page("/alerts")
        of_model = await browser.page("/models/chat")
        assert "Slow" in of_model
        assert "Hot" not in of_model


async def test_unreadable_alerts_are_unknown_and_not_none(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("the database cannot be reached")

    monkeypatch.setattr(SqlAlertLog, "counts", away)
    monkeypatch.setattr(SqlAlertLog, "active", away)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/")
    assert "Not known now: alerts: the database cannot be reached" in page
    assert "<b>–</b> alerts firing" in page


async def test_dropped_endpoints_are_grouped_by_reason_and_faults_of_lists_are_told(console: Any) -> None:
    rules = (RelabelRule(Action.DROP, ("env",), regex="dev"),)
    for name, env in (("b", "dev"), ("c", "dev")):
        labels = labels_of({"__address__": f"{name}:8000", "env": env})
        console.rig.dropped_targets.append(DroppedTarget("vllm", labels, rules))
    console.rig.discovery_faults.append("targets.json: line 3 is not JSON <b>")
    console.rig.discovery_remarks.append("PodMonitor llm/<i>: selects nothing")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/targets")
    assert "Dropped by relabel_configs" in page
    assert page.count("(drop): env must not match &#34;dev&#34;, and is &#34;dev&#34;") == 1
    assert '<td class="n" data-label="endpoints">2</td><td><code>b:8000</code></td>' in page
    assert "<li>targets.json: line 3 is not JSON &lt;b&gt;</li>" in page
    assert "<li>PodMonitor llm/&lt;i&gt;: selects nothing</li>" in page


async def test_targets_that_are_down_come_first(console: Any) -> None:
    up = console.rig.targets[0]
    down = TargetHealth(replace(up.target, instance="z:1"), "down", last_error="refused", last_error_reason="connect")
    console.rig.targets = [up, down]
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/targets")
    assert page.index(">z:1</code>") < page.index(">a:8000</code>")
    assert '<p class="warning">refused</p>' in page


async def test_the_engine_of_a_target_is_shown_and_whether_it_was_recognised(console: Any) -> None:
    named = console.rig.targets[0]
    found = replace(named, target=replace(named.target, engine="auto", instance="z:1"), recognised="sglang")
    console.rig.targets = [named, found, replace(found, target=replace(found.target, instance="y:1"), recognised="")]
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/targets")
    assert "<td>sglang <small>(auto)</small></td>" in page
    assert "<td>auto</td>" in page
    assert f"<td>{named.target.engine}</td>" in page


async def test_a_target_that_answers_with_nothing_expected_is_shown_as_blind(console: Any) -> None:
    words = "answers with metrics of dcgm, not of vllm: correct engine: or the address"
    unknown = ("llm_requests_waiting: replica",)
    console.rig.targets = [replace(console.rig.targets[0], instead=words, unknown_labels=unknown)]
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/targets")
    assert '<span class="state blind">blind</span>' in page
    assert f'<p class="warning">{words}</p>' in page
    assert "labels that the catalogue does not know keep series apart: llm_requests_waiting: replica" in page


async def test_what_a_target_of_no_engine_has_is_a_note_and_no_warning(console: Any) -> None:
    words = "has metrics of node_exporter, and of no known engine: raw metrics only"
    health = console.rig.targets[0]
    target = replace(health.target, engine="auto")
    console.rig.targets = [replace(health, target=target, recognised="custom", remark=words)]
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/targets")
    assert f"<p><small>{words}</small></p>" in page


async def test_an_unknown_page_model_or_alert_is_a_page(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        assert "<h1>Not Found</h1>" in await browser.page("/nowhere", 404)
        assert "its models: chat" in await browser.page("/models/nobody", 404)
        assert "there is no alert 0123456789abcdef" in await browser.page("/alerts/0123456789abcdef", 404)
        assert "<h1>Bad Request</h1>" in await browser.page("/alerts?state=odd", 400)


async def test_programs_get_documents_where_people_get_pages(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        for path in ("/nowhere", "/models/nobody"):
            answer = await browser.client.get(path, headers={"Accept": "*/*"})
            assert answer.headers["content-type"] == "application/problem+json"
        answer = await browser.client.get("/cp/v1/models/nobody")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_database_that_is_away_is_a_page_that_tries_again(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("the database at db:5432 cannot be reached")

    async with console.browser(Role.VIEWER) as browser:
        monkeypatch.setattr(SessionStore, "authenticate", away)
        answer = await browser.client.get("/alerts")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "the credential cannot be checked, because the database does not answer" in answer.text
    assert "db:5432" not in answer.text  # nobody knows who asks
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert "test-viewer" not in answer.text


async def test_a_fault_of_ours_shows_an_incident_only(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    async with console.browser(Role.VIEWER) as browser:
        monkeypatch.setattr(SqlAlertLog, "by_fingerprint", broken)
        page = await browser.page("/alerts/0123456789abcdef", 500)
    assert "logged as incident" in page
    assert "secret detail" not in page


async def test_assets_are_kept_and_asked_about(console: Any) -> None:
    async with console.browser(None) as browser:
        first = await browser.client.get("/static/css/base.css")
        assert first.headers["cache-control"] == "no-cache"
        again = await browser.client.get("/static/css/base.css", headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        assert (await browser.client.get("/static/nothing.css")).status_code == 404
        assert (await browser.client.get("/static/%2e%2e/console.py")).status_code == 404
        refused = await browser.client.post("/static/css/base.css")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_every_rule_of_the_packs_has_its_runbook_here(console: Any) -> None:
    names = [
        rule.alert
        for pack in BUILTIN
        for group in load_pack(pack, options=EXAMPLE)
        for rule in group.rules
        if isinstance(rule, AlertingRule)
    ]
    assert "Watchdog" in names
    async with console.browser(Role.VIEWER) as browser:
        index = await browser.page("/runbooks")
        for name in names:
            assert f'href="/runbooks/{name}.md"' in index
            assert f"<h1>{name}</h1>" in await browser.page(f"/runbooks/{name}.md")


async def test_runbooks_render_code_and_follow_their_links(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/runbooks/GPUTemperatureHigh.md")
        assert '<pre><code class="language-sh">cp query' in page
        assert 'href="GPUThermalThrottle.md"' in page
        assert "there is no runbook Nothing" in await browser.page("/runbooks/Nothing", 404)
        for path in ("/runbooks/..%2F..%2Fpyproject", "/runbooks/../console"):
            assert (await browser.client.get(path)).status_code in (400, 404)


async def test_runbooks_need_a_session(console: Any) -> None:
    async with console.browser(None) as browser:
        assert (await browser.client.get("/runbooks/Watchdog.md")).status_code == 303


async def test_rollouts_that_need_attention_are_on_the_fleet_page(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (
        Attention("chat", "r-1", Need.PERSON, f"v1 serves, but {SCRIPT}", 0.0),
        Attention("chat", "r-2", Need.WENT_BACK, "v2 failed", 0.0),
    )
    async with console.browser(Role.VIEWER) as browser:
        assert "Needs attention" not in await browser.page("/")
        monkeypatch.setattr(console.rig.rollouts, "attention", lambda: found)
        console.rig.clock.time += 5
        page = await browser.page("/")
    assert "Needs attention" in page
    assert '<a href="/rollouts/r-1">Rollout r-1 of chat</a>' in page
    assert "needs a person" in page
    assert "went back" in page
    assert SCRIPT not in page


@pytest.mark.parametrize(("turn_back", "state"), [("", "rolled-back"), ("Rollback by bob", "idle")])
async def test_a_rollback_that_was_asked_for_is_not_red(console: Any, turn_back: str, state: str) -> None:
    started = await console.rig.rollouts.start("chat", "v2", actor="ann")
    ended = replace(
        started,
        phase=Phase.ROLLED_BACK,
        finished_at=console.rig.clock.time,
        turn_back=turn_back,
        reason="Rollback by bob",
    )
    log = RolloutLog(console.rig.db)
    if turn_back:
        log.request_turn_back(started.id, turn_back, "bob", "rollout.rollback", console.rig.clock.time)
    log.save(to_record(ended), [], None, None)
    async with console.browser(Role.VIEWER) as browser:
        for path in ("/rollouts", f"/rollouts/{started.id}"):
            assert f'<span class="state {state}">rolled-back</span>' in await browser.page(path)


@pytest.mark.parametrize(("verified", "words"), [(True, "Verified: 5 of 5"), (False, "Loaded, not tried: 5 of 5")])
async def test_a_rollouts_page_says_what_it_was_tried_with(console: Any, verified: bool, words: str) -> None:
    started = await console.rig.rollouts.start("chat", "v2", actor="ann")
    judged = replace(started, phase=Phase.DRAINING, switched=True, verified=verified, evidence="5 of 5")
    RolloutLog(console.rig.db).save(to_record(judged), [], None, None)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/rollouts/{started.id}")
    assert words in page
    assert ("loaded, not tried</small>" in page) is not verified


async def test_a_rollouts_page_tells_each_thing_once(console: Any) -> None:
    started = await console.rig.rollouts.start("chat", "v2", actor="ann")
    told = "ann asked to promote chat from v1 to v2"
    judged = replace(
        started,
        phase=Phase.DRAINING,
        switched=True,
        verified=True,
        evidence="5 of 5",
        sentence="v2 is verified (5 of 5)",
        notes=(told, "Triton forgets it"),
    )
    RolloutLog(console.rig.db).save(to_record(judged), [], None, None)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/rollouts/{started.id}")
    assert (page.count(told), page.count("5 of 5"), page.count("Triton forgets it")) == (1, 1, 1)


async def test_a_gpu_is_named_by_its_index_and_its_uuid_is_at_hand(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = (GpuView(node="n1", gpu="GPU-51", index="3"), GpuView(node="n2", gpu="GPU-52"))
    monkeypatch.setattr(assemble, "gpu_views", lambda *_: gpus)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/")
    assert 'role="img" title="GPU 3 GPU-51 · memory' in page
    assert 'role="img" title="GPU GPU-52 · memory' in page


async def test_the_watchdog_is_not_red(console: Any) -> None:
    console.alert("Watchdog", severity="none")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts")
    assert '<span class="state ">firing</span> <a' in page
    assert 'class="state firing"' not in page


def burning(left: float | None, seen_days: float) -> SloList:
    slo = Slo("chat", "up", objective=0.999, window_s=30 * 86400.0)
    numbers = {"remaining": left, "observed": seen_days * 86400.0, "burn": 5.0}
    known = {name: {("chat", "up"): value} for name, value in numbers.items() if value is not None}
    return SloList(generated_at="", items=(slo_view(slo, known, 1_800_000_000.0),))


async def test_a_models_page_has_its_error_budgets(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(_self: SloReader, model: str | None = None) -> SloList:
        assert model == "chat"
        return burning(0.5, 9)

    async with console.browser(Role.VIEWER) as browser:
        assert "Error budgets" not in await browser.page("/models/chat"), "it has no SLO"
        monkeypatch.setattr(SloReader, "slos", read)
        page = await browser.page("/models/chat")
    assert "Error budgets" in page and ">burning</span>" in page
    assert "over the last 9 d" in page and "99.9%" in page and "2027-01-18" in page


async def test_error_budgets_that_cannot_be_read_hide_nothing_else(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_self: SloReader, model: str | None = None) -> SloList:
        raise QueryError("timeout", "the metrics server does not answer")

    monkeypatch.setattr(SloReader, "slos", fail)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/models/chat")
    assert "The numbers of the SLOs cannot be read now." in page and "Backends" in page


def test_no_sheet_of_one_area_changes_what_another_area_shows() -> None:
    folder = Path(web.__file__).parent / "static" / "css"
    begins: dict[str, set[str]] = {}
    for name in ("fleet", "models", "operations", "alerting"):
        text = re.sub(r"/\*.*?\*/", "", (folder / f"{name}.css").read_text(encoding="utf-8"), flags=re.DOTALL)
        selectors = [one.strip() for group in re.findall(r"([^{}]+)\{", text) for one in group.split(",")]
        begins[name] = {found[1] for one in selectors if (found := re.match(r"\.([\w-]+)", one))}
    # These are of all pages; a sheet adds a kind of its own, as `.charts.three`.
    shared = {"bar", "charts", "table"}
    twice = {c for a in begins for b in begins if a < b for c in begins[a] & begins[b]} - shared
    assert twice == set(), "give one of them another name"
