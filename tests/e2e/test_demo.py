"""The demo as a newcomer runs it: a real Triton under load, every command of the README, and nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from controlplane.rollout.options import Metric
from dashboards.generate import BOARDS
from tests.e2e.demo_world import Demo, running
from tests.patience import HANG_S, PROCESS_S

pytestmark = [pytest.mark.needs("triton"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("newcomer")) as started:
        yield started


ENGINES = {"triton", "probe", "readiness", "controlplane"}
SIMULATED = {"vllm", "dcgm", "gateway"}
"""The gateway is a real one. Its series carry the label because the engines behind it are simulated."""


def test_status_and_targets_show_the_real_and_the_simulated_apart(demo: Demo) -> None:
    demo.until("all 12 targets up", lambda: [t["health"] for t in demo.json("targets")] == ["up"] * 12)
    targets = demo.json("targets")
    assert {t["engine"] for t in targets} == ENGINES | SIMULATED
    assert {t["engine"] for t in targets if not t["simulated"]} == ENGINES
    assert all(t["labels"]["simulated"] == "true" for t in targets if t["engine"] in SIMULATED)
    for name in ("model", "chat"):
        demo.until(f"the state of {name}", partial(lambda n: demo.versions(n)["v1"]["state"] == "ready", name))
    model, chat = demo.versions("model"), demo.versions("chat")
    assert (model["v1"]["role"], model["v2"]["role"], model["v2"]["state"]) == ("stable", "idle", "unavailable")
    assert not model["v1"]["simulated"] and chat["v1"]["simulated"] and chat["v2"]["simulated"]
    assert (chat["v1"]["state"], chat["v2"]["state"]) == ("ready", "ready")
    text = demo.cp("status")
    assert "fleet demo" in text and "simulated" in text
    gpus = demo.json("status")["gpus"]
    assert len(gpus) == 4 and all(g["simulated"] for g in gpus)


def test_a_query_has_rows(demo: Demo) -> None:
    rows = demo.until("rows", lambda: demo.json("query", "llm_requests_running")["result"])
    assert {r["metric"]["version"] for r in rows} == {"v1", "v2"}
    assert "llm_requests_running{" in demo.cp("query", "llm_requests_running")
    assert "unknown function" in demo.cp("query", "nonsense(up)", code=2).lower()


def test_promote_and_roll_back_under_load_without_one_failed_or_cut_request(demo: Demo) -> None:
    demo.until("load", lambda: demo.load()["model"]["requests"] > 20)
    text = demo.cp("promote", "model", "v2")
    assert re.search(r"verifying +v2 serves on ", text), text
    answered = demo.load()["model"]["versions"].get("v2", 0)
    demo.until("answers of v2", lambda: demo.load()["model"]["versions"].get("v2", 0) > answered + 10)
    rollout = demo.json("rollouts", "list")[0]
    done = demo.until("drained", lambda: (r := demo.json("rollouts", "show", rollout["id"]))["finished"] and r)
    assert (done["phase"], done["ok"], done["from"], done["to"]) == ("succeeded", True, "v1", "v2")
    states = {v: s["state"] for v, s in demo.versions("model").items()}
    assert states == {"v1": "unavailable", "v2": "ready"}
    config = (demo.folder / "demo" / "models" / "model" / "config.pbtxt").read_text()
    assert re.search(r"versions:\s*\[\s*2\s*\]", config), "a restarted Triton must serve v2"

    assert "v2 -> v1" in demo.cp("rollback", "model")
    v2 = demo.until("the rollback", lambda: demo.json("rollouts", "list")[0]["finished"] and demo.load()["model"])
    demo.until("answers of v1", lambda: demo.load()["model"]["versions"]["v1"] > v2["versions"]["v1"] + 10)
    load = demo.load()["model"]
    assert (load["failed"], load["cut"]) == (0, 0), load["errors"]
    assert load["requests"] == sum(load["versions"].values())


def test_promote_and_roll_back_through_the_gateway_without_one_failed_or_cut_request(demo: Demo) -> None:
    demo.until("load", lambda: demo.load()["chat"]["requests"] > 10)
    (gateway,) = demo.json("gateways")
    assert (gateway["live"], gateway["ready"], gateway["fault"]) == (True, True, "")
    for version, old in (("v2", "v1"), ("v1", "v2")):
        # The bound on false alarms is 1%, not 0: here every comparison is only reported.
        reported = [f"--report-only={metric.value}" for metric in Metric]
        text = demo.cp("promote", "chat", version, "--rollback-window", "5s", *reported)
        assert re.search(rf"switching +{version} gets 20% of the requests", text), text
        assert re.search(rf"preparing +{version} is ready on gateway and is asked 5 questions", text), text
        assert re.search(rf"verifying +{version} serves on gateway", text), text
        before = demo.load()["chat"]["versions"]
        rollout = demo.json("rollouts", "list")[0]
        done = demo.until(
            "the end", partial(lambda r: (s := demo.json("rollouts", "show", r["id"]))["finished"] and s, rollout)
        )
        assert (done["phase"], done["from"], done["to"], done["verified"]) == ("succeeded", old, version, True)
        assert "not confirmed by traffic" not in done["sentence"]
        looks = [f for f in done["findings"] if f["kind"] == "look"]
        assert [f["outcome"] for f in looks] == ["pass"]
        assert {s["metric"] for s in looks[0]["samples"]} >= {"errors", "ttft", "duration"}
        assert [s["state"] for s in done["progress"]["steps"]] == ["done"] * len(done["progress"]["steps"])
        wanted = before.get(version, 0) + 5
        demo.until("answers", partial(lambda v, n: demo.load()["chat"]["versions"].get(v, 0) >= n, version, wanted))
        shares = {v: s["traffic_share"] for v, s in demo.versions("chat").items()}
        assert shares == {version: 1.0, old: 0.0}
        (applied,) = [m for m in demo.json("gateways")[0]["models"] if m["model"] == "chat"]
        assert applied["generation"] == applied["assigned"]
        assert set(applied["requests"]) - {"v2"} == {version} - {"v2"}  # testers ask v2 by its name all the time
    for load in demo.load().values():
        assert (load["failed"], load["cut"]) == (0, 0), load["errors"]


def test_what_cannot_be_done_is_refused_with_a_reason(demo: Demo) -> None:
    assert "v1" in demo.cp("promote", "model", "v1", code=1)
    assert "v9" in demo.cp("promote", "model", "v9", code=1)
    assert "nope" in demo.cp("promote", "nope", "v2", code=2)
    assert "canary" in demo.cp("promote", "model", "v2", "--strategy", "canary", code=1)


@pytest.mark.parametrize(
    ("fault", "alert"),
    [("gpu-hot", "GPUTemperatureHigh"), ("slow-v2", "LLMLatencyP99High")],
    ids=["gpu-hot", "slow-v2"],
)
def test_a_fault_makes_a_rule_pending_then_firing_then_resolved_everywhere(demo: Demo, fault: str, alert: str) -> None:
    context = (demo.folder / "config" / "controlplane" / "config.toml").read_text()
    url, token = (re.search(rf'{k} = "(.*)"', context)[1] for k in ("url", "token"))  # type: ignore[index]
    demo.cp("demo", "fault", fault)
    try:
        # It is pending for six seconds, and on a busy machine a verb takes longer than that.
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=HANG_S) as api:

            def pending() -> bool:
                items = api.get("/cp/v1/alerts", params={"state": "pending"}).raise_for_status().json()["items"]
                return alert in {item["name"] for item in items}

            demo.until(f"{alert} pending", pending)
        firing = demo.until(f"{alert} firing", lambda: demo.alert(alert, "firing"))
        assert firing["simulated"] and firing["runbook"]
        with httpx.Client(base_url=url, follow_redirects=True, timeout=HANG_S) as browser:
            browser.post("/sign-in", data={"token": token})
            assert alert in browser.get("/").text
    finally:
        demo.cp("demo", "fault", "clear")
    demo.until(f"{alert} resolved", lambda: demo.alert(alert, "resolved") and not demo.alert(alert, "firing"))
    history = demo.json("alerts", "show", firing["fingerprint"])["history"]
    assert [h["after"] for h in history[-3:]] == ["pending", "firing", "resolved"]
    log = demo.folder / "demo" / "logs" / "control-plane.log"
    demo.until(
        "the notifier's two messages",
        lambda: {"FIRING", "RESOLVED"} <= set(re.findall(rf"(FIRING|RESOLVED): {alert}", log.read_text())),
    )


def test_dashboards_are_generated(demo: Demo) -> None:
    demo.cp("dashboards", "generate", "--out", "out")
    assert sorted(file.stem for file in (demo.folder / "out").glob("*.json")) == sorted(BOARDS)


def test_ctrl_c_stops_everything_and_the_load_reports_no_failure(demo: Demo) -> None:
    children = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    mine = [line for line in children if str(demo.folder) in line and " ps " not in line]
    assert any("tritonserver" in line for line in mine) and any("controlplane up" in line for line in mine)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(PROCESS_S) == 0
    text = demo.finish_reading()
    assert re.search(r"load: \d+ requests to model, 0 failed, 0 cut", text), text
    left = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line for line in left if str(demo.folder) in line] == []
    assert not (demo.folder / "config" / "controlplane" / "config.toml").exists(), "the context was left behind"
