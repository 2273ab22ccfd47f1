"""What the fleet page draws, as values: causes, cards, sparklines, and the grid of GPUs."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from alerts.routing.matchers import parse_matchers
from controlplane.fleet.slos import SloView
from controlplane.fleet.trends import LineView, ModelTrendView, TrendsView
from controlplane.fleet.views import AlertView, AttentionView, GpuView, ModelView, VersionView
from controlplane.web.fleet.cards import Card, cards_of
from controlplane.web.fleet.causes import causes_of
from controlplane.web.fleet.gpus import Node, nodes_of
from controlplane.web.fleet.sparkline import HEIGHT, WIDTH, sparkline

GIB = 2.0**30
NUMBERS = iter(range(10_000))


def alert(name: str, state: str = "firing", severity: str = "warning", at: str = "08:00", **labels: str) -> AlertView:
    return AlertView(
        fingerprint=f"{next(NUMBERS):016x}",
        name=name,
        state=state,
        severity=severity,
        labels=labels,
        annotations={},
        value=None,
        active_at=f"2027-01-15T{at}:00.000Z",
        fired_at=None,
        resolved_at=None,
        unknown_since=None,
        away=(),
        rule="",
        runbook=None,
        simulated=False,
    )


def need(kind: str, model: str) -> AttentionView:
    return AttentionView(model=model, rollout="r-1", need=kind, sentence="v2 failed", since="2027-01-15T07:00:00.000Z")


def test_fourteen_alerts_of_one_model_are_one_cause_with_the_worst_first() -> None:
    alerts = [alert("Slow", model="chat", instance=str(n)) for n in range(12)]
    alerts += [alert("Down", severity="critical", model="chat"), alert("Late", "pending", model="chat")]
    (cause,) = causes_of(alerts, (), ["chat"])
    assert (cause.kind, cause.name, cause.href, cause.state) == ("model", "chat", "/models/chat", "firing")
    assert [(kind.first.name, kind.count) for kind in cause.alerts] == [("Down", 1), ("Slow", 12)]
    assert cause.alerts[0].href == f"/alerts/{alerts[12].fingerprint}"
    assert cause.alerts[1].href == cause.all_href == "/alerts?state=active&label=model%3D%22chat%22"
    assert cause.more == 1


def test_the_link_of_a_cause_finds_its_alerts_whatever_characters_its_name_has() -> None:
    name = 'a,b="c"'
    (cause,) = causes_of([alert("Down", node=name), alert("Down", node=name)], (), [])
    (label,) = parse_qs(urlsplit(cause.all_href).query)["label"]
    (matcher,) = parse_matchers(label)
    assert matcher.matches({"node": name}) and not matcher.matches({"node": "a"})


def test_needs_of_gateways_lead_to_their_page() -> None:
    (cause,) = causes_of((), [need(kind, "") for kind in ("gateway_silent", "gateway_behind", "no_gateway")], [])
    assert (cause.all_href, cause.more) == ("/gateway", 1)


def test_causes_are_in_the_order_of_their_urgency_and_then_of_their_age() -> None:
    alerts = [
        alert("Late", "pending", model="a"),
        alert("Hot", node="n2", gpu="GPU-1"),
        alert("Hot", at="07:59", node="n1", gpu="GPU-2"),
        alert("Down", severity="critical", instance="h:1"),
        alert("Odd", severity="info"),
    ]
    found = causes_of(alerts, [need("went_back", "b"), need("person", "c"), need("no_gateway", "")], ["a", "b"])
    assert [(cause.kind, cause.name) for cause in found] == [
        ("model", "c"),
        ("instance", "h:1"),
        ("node", "n1"),
        ("node", "n2"),
        ("alertname", ""),
        ("gateway", ""),
        ("model", "b"),
        ("model", "a"),
    ]
    assert [cause.state for cause in found] == ["firing"] * 5 + ["pending"] * 3
    assert found[0].href == "", "c has no page"


def test_needs_of_one_kind_are_one_line_and_leave_one_for_the_alerts() -> None:
    needs = [need("engine_not_ready", "chat"), need("engine_not_ready", "chat"), need("went_back", "chat")]
    (cause,) = causes_of([alert("Slow", model="chat"), alert("Late", model="chat")], needs, ["chat"])
    assert [(one.need, count) for one, count in cause.needs] == [("engine_not_ready", 2)]
    assert [kind.first.name for kind in cause.alerts] == ["Slow"]
    assert cause.more == 2


def version(name: str, role: Any = "idle", state: str = "ready", share: float | None = None) -> VersionView:
    return VersionView(version=name, role=role, state=state, traffic_share=share)


def model(name: str = "chat", *versions: VersionView, drift: str = "") -> ModelView:
    shown = versions or (version("v1", "stable", share=1.0),)
    return ModelView(name=name, driver="none", stable="v1", can_promote=False, versions=shown, drift=drift)


def trends(*lines: LineView) -> TrendsView:
    models = (ModelTrendView(model="chat", lines=lines),) if lines else ()
    return TrendsView(generated_at="", step_seconds=90.0, limits={}, models=models)


def card(one: ModelView, alerts: Any = (), needs: Any = (), slos: Any = (), lines: TrendsView | None = None) -> Card:
    (found,) = cards_of([one], alerts, needs, slos, lines or trends())
    return found


def test_the_edge_of_a_card_has_the_worst_state() -> None:
    assert card(model()).state == "good"
    assert card(model("chat", version("v1", "stable", "unknown"))).state == "unknown"
    assert card(model("chat", version("v1", "stable", "unavailable"))).state == "firing"
    assert card(model(drift="http://a:1 serves v2")).state == "pending"
    assert card(model(), [alert("Late", "pending", model="chat")]).state == "pending"
    assert card(model(), [alert("Late", "pending", model="chat"), alert("Hot", model="chat")]).state == "firing"
    assert card(model(), [alert("Busy", severity="info", model="chat")]).state == "pending", "it is no fault"
    assert card(model(), [alert("Hot", model="other")]).state == "good"
    assert card(model(), needs=[need("waiting", "chat")]).state == "pending"
    assert card(model(), needs=[need("person", "chat")]).state == "firing"


def test_no_model_is_fine_while_some_alerts_are_not_known() -> None:
    models = [model(), model("embed", version("v1", "stable", "unavailable"))]
    found = cards_of(models, (), (), (), trends(), every_alert=False)
    assert [one.state for one in found] == ["unknown", "firing"]


def test_the_traffic_bar_has_the_colour_that_each_version_has_everywhere() -> None:
    versions = (version("v1"), version("v2", "stable", share=0.9), version("v3", "candidate", share=0.1))
    found = card(model("chat", *versions))
    assert found.shares == (("v2", 2, 0.0, 90.0), ("v3", 3, 90.0, 10.0))
    assert [(colour, one.version) for colour, one in found.versions] == [(2, "v2"), (3, "v3"), (1, "v1")]
    assert card(model("chat", version("v1", "stable"))).shares == (), "unknown shares draw no bar"


def test_cards_of_many_models_leave_out_what_serves_nothing() -> None:
    versions = (version("v1", "stable", share=0.7), version("v2", "serving", share=0.3), version("v3"))
    cards = cards_of([model(f"m{n}", *versions) for n in range(13)], (), (), (), trends())
    assert [one.version for _colour, one in cards[0].versions] == ["v1", "v2"]
    alone = cards_of([model(f"m{n}") for n in range(13)], (), (), (), trends())
    assert alone[0].versions == (), "the title names the one version that serves everything"


def test_a_number_beyond_its_limit_is_marked() -> None:
    slow = LineView(name="p99", unit="seconds", source="probe", limit=2.0, now=2.5, points=(1.0, 2.5))
    drawn = {one.name: one for one in card(model(), lines=trends(slow)).lines}
    assert list(drawn) == ["requests", "p99", "ttft", "errors", "tokens"]
    assert drawn["p99"].beyond and not drawn["errors"].beyond
    assert drawn["errors"].line is None


def test_a_card_shows_the_objective_that_is_worst() -> None:
    def slo(name: str, state: Any, left: float | None) -> SloView:
        fields = {"meaning": "", "metric": "availability", "below_seconds": None, "window_seconds": 60.0}
        return SloView(
            model="chat", name=name, objective_percent=99, state=state, budget_remaining_ratio=left, **fields
        )

    found = card(model(), slos=[slo("a", "good", 0.2), slo("b", "burning", 0.9), slo("c", "good", 0.1)])
    assert found.slo and found.slo.name == "b"
    assert card(model()).slo is None


def test_badges_count_the_alerts_of_one_name() -> None:
    alerts = [alert("Slow", model="chat") for _ in range(3)] + [alert("Late", "pending", model="chat")]
    alerts += [alert(name, model="chat") for name in ("A", "B", "C")]
    found = card(model(), alerts)
    assert [(badge.name, badge.alerts) for badge in found.badges] == [("Slow", 3), ("A", 1), ("B", 1)]
    assert found.more_alerts == 2


def test_a_sparkline_has_gaps_a_limit_and_the_part_beyond_it() -> None:
    drawn = sparkline((0.0, 1.0, None, 4.0, 1.0), 2.0)
    assert drawn.lines == ("0,24 30,19", "90,2 120,19")
    assert drawn.beyond == ("90,2 120,19",)
    assert drawn.limit_y == 13
    rising = sparkline((1.0, 3.0, 3.0), 2.0)
    assert rising.beyond == (rising.lines[0],), "the part begins at the last value within the limit"


def test_a_sparkline_of_one_value_is_a_dot_and_of_none_is_empty() -> None:
    assert sparkline((None, 2.0, None)).lines == ("60,2 60,2",)
    assert sparkline((None, None)) == ((), (), None)
    assert sparkline((0.0, 0.0)).lines == (f"0,{HEIGHT} {WIDTH},{HEIGHT}",)


LIMITS = {"vram_ratio": 0.95, "temperature": 85.0}


def gpu(name: str, index: str | None = "0", *, node: str = "n1", **numbers: Any) -> GpuView:
    return GpuView(node=node, gpu=name, index=index, **numbers)


def levels(nodes: list[Node]) -> list[tuple[str, str]]:
    return [(tile.level, tile.text) for node in nodes for cell in node.cells for tile in cell]


def test_the_grid_is_coloured_by_the_chosen_number() -> None:
    full: dict[str, Any] = {"memory_used_bytes": 78 * GIB, "memory_total_bytes": 80 * GIB, "temperature_celsius": 86.0}
    half: dict[str, Any] = {"memory_used_bytes": 40 * GIB, "memory_total_bytes": 80 * GIB, "utilization_ratio": 1.0}
    gpus = [gpu("GPU-2", "10", **half), gpu("GPU-1", "9", **full), gpu("GPU-3", None)]
    assert levels(nodes_of(gpus, (), "memory", LIMITS)) == [("hot", "98"), ("u2", "50"), ("unknown", "–")]
    assert levels(nodes_of(gpus, (), "utilization", LIMITS)) == [("unknown", "–"), ("u4", "100"), ("unknown", "–")]
    assert levels(nodes_of(gpus, (), "temperature", LIMITS)) == [("hot", "86°"), ("unknown", "–"), ("unknown", "–")]


def test_mig_instances_share_the_cell_of_their_gpu_and_have_its_temperature() -> None:
    parts = [
        gpu("GPU-1", temperature_celsius=50.0, power_watts=200.0),
        gpu("GPU-1/GI1", memory_used_bytes=1.0, memory_total_bytes=2.0),
        gpu("GPU-1/GI2"),
    ]
    (node,) = nodes_of(parts, [alert("Hot", gpu="GPU-1")], "temperature", LIMITS)
    (cell,) = node.cells
    assert [(tile.slice, tile.text, tile.memory) for tile in cell] == [("GI1", "50°", 50), ("GI2", "50°", None)]
    assert node.alerts == 1
    assert all(tile.gpu.power_watts == 200.0 and len(tile.alerts) == 1 for tile in cell)


def test_an_alert_marks_the_gpu_of_its_node_only() -> None:
    nodes = nodes_of([gpu("GPU-1"), gpu("GPU-2", node="n2")], [alert("Hot", gpu="GPU-1", node="n2")], "memory", LIMITS)
    assert [node.alerts for node in nodes] == [0, 0]
    nodes = nodes_of([gpu("GPU-1"), gpu("GPU-2", node="n2")], [alert("Hot", gpu="GPU-2", node="n2")], "memory", LIMITS)
    assert [(node.name, node.alerts) for node in nodes] == [("n1", 0), ("n2", 1)]
