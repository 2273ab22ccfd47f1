"""The Triton driver against a fake that can misbehave: what it reports, what it orders, what it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import EngineRefused, Placement, VersionState
from controlplane.traffic.drivers import build_drivers
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton import grpc_loader
from controlplane.traffic.triton.driver import TritonDriver
from tests.fakes.gateways import FakeGateways
from tests.fakes.triton import CONFIG, FakeTriton
from tests.patience import HANG_S

READY, UNAVAILABLE = VersionState.READY, VersionState.UNAVAILABLE


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with FakeTriton() as fake:
        yield fake


def section(*backends: dict[str, Any], **traffic: Any) -> ModelSection:
    return ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "versions": {"v1": {}, "v2": {}},
            "traffic": {"driver": "triton", "model": "model", "backends": list(backends), **traffic},
        }
    )


@pytest.fixture
async def driver(triton: FakeTriton) -> AsyncIterator[TritonDriver]:
    made = TritonDriver(section({"url": triton.url}), open_session(), timeout_s=HANG_S)
    yield made
    await made.close()


def placement(serve: str, *keep: str, url: str = "", config: dict[str, Any] | None = None) -> Placement:
    return Placement("chat", serve, keep, json.dumps({url: config or CONFIG}))


async def test_where_both_do_not_fit_the_old_version_is_gone_before_the_new_one_loads(
    triton: FakeTriton, driver: TritonDriver
) -> None:
    paths: list[str] = []
    triton.on_request = paths.append
    order = replace(placement("v2", url=triton.url), unload_first=True)
    await driver.place(triton.url, order)
    orders = [path for path in paths if path.endswith("load")]
    assert [path.rpartition("/")[2] for path in orders] == ["unload", "load"]
    seen_gone = paths[paths.index(orders[0]) : paths.index(orders[1])]
    assert "/v2/repository/index" in seen_gone
    assert (await driver.observe()).backends[0].serving == "v2"
    paths.clear()
    await driver.place(triton.url, order)  # as after a crash: the version is loaded, and nothing is unloaded again
    assert [path.rpartition("/")[2] for path in paths if path.endswith("load")] == ["load"]


async def test_a_version_that_does_not_go_keeps_the_new_one_from_loading(triton: FakeTriton) -> None:
    triton.stuck_unloading = True
    driver = TritonDriver(section({"url": triton.url}, drain_timeout="100ms"), open_session())
    with pytest.raises(Unavailable, match=r"still has version \[1\] of model, so v2 was not loaded"):
        await driver.place(triton.url, replace(placement("v2", url=triton.url), unload_first=True))
    assert triton.loads == []
    await driver.close()


async def test_a_version_that_was_never_loaded_is_unavailable_not_unknown(driver: TritonDriver) -> None:
    (seen,) = (await driver.observe()).backends
    assert (seen.reachable, seen.serving, seen.error) == (True, "v1", "")
    assert seen.versions == {"v1": READY, "v2": UNAVAILABLE}


async def test_a_server_behind_a_key_is_asked_with_it_and_a_rotated_one_is_picked_up(
    triton: FakeTriton, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    backend = {"url": triton.url, "authorization": {"credentials_file": str(key)}}
    driver = TritonDriver(section(backend), open_session(), timeout_s=HANG_S)
    try:
        triton.key = "one"
        (absent,) = (await driver.observe()).backends
        assert not absent.reachable and str(key) in absent.error
        key.write_text("one\n")
        (seen,) = (await driver.observe()).backends
        assert (seen.reachable, seen.serving) == (True, "v1")
        triton.key = "two"
        (refused,) = (await driver.observe()).backends
        assert not refused.reachable and "who are you?" in refused.error
        assert "one" not in refused.error
        key.write_text("two\n")
        assert (await driver.observe()).backends[0].reachable
    finally:
        await driver.close()


async def test_the_highest_ready_version_serves(triton: FakeTriton, driver: TritonDriver) -> None:
    triton.states = {1: "READY", 2: "READY", 10: "LOADING"}
    (seen,) = (await driver.observe()).backends
    assert seen.serving == "v2"
    assert seen.versions["v10"] is VersionState.LOADING
    triton.not_ready = {2}
    (seen,) = (await driver.observe()).backends
    assert (seen.serving, seen.versions["v2"]) == ("v1", VersionState.LOADING)


async def test_a_state_that_we_do_not_know_is_unknown(triton: FakeTriton, driver: TritonDriver) -> None:
    triton.states[2] = "PAUSED"
    (seen,) = (await driver.observe()).backends
    assert seen.versions["v2"] is VersionState.UNKNOWN


async def test_where_python_was_within_itself_is_left_out(triton: FakeTriton, driver: TritonDriver) -> None:
    frames = "  /m/2/model.py(1): <module>\n  <frozen importlib._bootstrap>(241): _call_with_frames_removed\n"
    triton.states[2] = "UNAVAILABLE"
    triton.reasons[2] = (
        f"RuntimeError: no weights\n\nAt:\n{frames}  <frozen importlib._bootstrap>(1176): _find_and_load\n;"
    )
    (seen,) = (await driver.observe()).backends
    assert seen.reasons == {"v2": "RuntimeError: no weights At: /m/2/model.py(1): <module>"}


async def test_reasons_are_the_engines_words_on_one_line(triton: FakeTriton, driver: TritonDriver) -> None:
    triton.states[2], triton.reasons[2] = "UNAVAILABLE", "Internal: RuntimeError: corrupt\n\nAt:\n  model.py(7)\n"
    (seen,) = (await driver.observe()).backends
    assert seen.reasons == {"v2": "Internal: RuntimeError: corrupt At: model.py(7)"}


async def test_no_answer_and_a_wrong_answer_are_unreachable_with_the_reason(
    triton: FakeTriton, driver: TritonDriver
) -> None:
    triton.garbage = True
    (seen,) = (await driver.observe()).backends
    assert (seen.reachable, seen.versions) == (False, {})
    assert "answered the repository index with something that is not JSON" in seen.error
    triton.reachable = False
    (seen,) = (await driver.observe()).backends
    assert seen.error.startswith(f"{triton.url} did not answer /v2/repository/index")


async def test_every_load_carries_the_whole_configuration_with_its_versions(
    triton: FakeTriton, driver: TritonDriver
) -> None:
    config = {**CONFIG, "max_batch_size": 8, "version_policy": {"latest": {"num_versions": 1}}}
    await driver.place(triton.url, placement("v2", "v1", url=triton.url, config=config))
    assert triton.config == {**config, "version_policy": {"specific": {"versions": [1, 2]}}}
    assert triton.serving == 2


async def test_triton_outside_explicit_mode_is_refused_with_the_cure(triton: FakeTriton, driver: TritonDriver) -> None:
    triton.mode = "none"
    cure = "explicit model load / unload is not allowed.*start tritonserver with --model-control-mode=explicit"
    with pytest.raises(Refused, match=cure):
        await driver.prepare("v2")
    with pytest.raises(EngineRefused, match=cure):
        await driver.place(triton.url, placement("v2", url=triton.url))
    assert triton.loads == [[2]], "planning ordered nothing"


async def test_a_cut_connection_is_unavailable_not_refused(triton: FakeTriton, driver: TritonDriver) -> None:
    triton.swallow = 1
    with pytest.raises(Unavailable, match="did not answer /v2/repository/models/model/load"):
        await driver.place(triton.url, placement("v2", url=triton.url))


async def test_a_load_may_outlast_the_other_calls_timeout_but_not_its_own(triton: FakeTriton) -> None:
    driver = TritonDriver(section({"url": triton.url}, load_timeout="100ms"), open_session())
    triton.hold_loads()
    with pytest.raises(Unavailable, match=r"did not answer .*/load within 0\.1 s"):
        await driver.place(triton.url, placement("v2", url=triton.url))
    (seen,) = (await driver.observe()).backends
    assert seen.versions["v2"] is VersionState.LOADING, "a client that hangs up does not stop a load"
    await driver.close()


async def test_planning_refuses_what_cannot_work(triton: FakeTriton, driver: TritonDriver) -> None:
    triton.states = {}
    with pytest.raises(Refused, match="'model' has no available versions"):
        await driver.prepare("v2")
    triton.reachable = False
    with pytest.raises(Refused, match="what it serves is unknown, so nothing was started"):
        await driver.prepare("v2")


async def test_planning_refuses_a_missing_version_directory_and_names_it(triton: FakeTriton, tmp_path: Path) -> None:
    (tmp_path / "model" / "1").mkdir(parents=True)
    driver = TritonDriver(section({"url": triton.url, "repository": str(tmp_path)}), open_session())
    with pytest.raises(Refused, match=f"version directory {tmp_path}/model/2 does not exist"):
        await driver.prepare("v2")
    (tmp_path / "model" / "2").mkdir()
    with pytest.raises(Refused, match=f"version directory {tmp_path}/model/2 is empty: it lacks model.py; put the"):
        await driver.prepare("v2")
    (tmp_path / "model" / "2" / "model.py").touch()
    preparation = await driver.prepare("v2")
    assert json.loads(preparation.config) == {triton.url: CONFIG}
    await driver.close()


async def test_notes_say_what_first_requests_will_see(triton: FakeTriton, driver: TritonDriver) -> None:
    notes = (await driver.prepare("v2")).known
    assert f"no model_warmup in the model's configuration on {triton.url}: first requests will be cold" in notes
    assert any("has no `grpc:` address, so the load order goes over HTTP" in note for note in notes)
    triton.config = {**CONFIG, "model_warmup": [{"name": "w"}]}
    notes = (await driver.prepare("v2")).known
    assert notes[0] == "the model's configuration has model_warmup, which runs before a version is ready"


async def test_commit_edits_config_pbtxt_and_says_so(triton: FakeTriton, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = folder / "config.pbtxt"
    config.write_text('name: "model" # mine\nversion_policy: { specific: { versions: [ 1 ] } }\n')
    config.chmod(0o640)
    driver = TritonDriver(section({"url": triton.url, "repository": str(tmp_path)}), open_session())
    (said,) = await driver.commit(placement("v2", url=triton.url))
    assert said == f"{config} now names version [2], so a restart of Triton keeps it"
    assert config.read_text().splitlines()[0] == 'name: "model" # mine'
    assert config.read_text().splitlines()[-1] == "version_policy: { specific: { versions: [ 2 ] } }"
    assert config.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in folder.iterdir()] == ["config.pbtxt"], "another new file would make Triton reload versions"
    before = config.stat().st_mtime_ns
    (said,) = await driver.commit(placement("v2", url=triton.url))
    assert said == f"{config} already names version [2]"
    assert config.stat().st_mtime_ns == before
    await driver.close()


async def test_commit_creates_the_file_of_an_autocompleted_model(triton: FakeTriton, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    driver = TritonDriver(section({"url": triton.url, "repository": str(tmp_path)}), open_session())
    (said,) = await driver.commit(placement("v2", url=triton.url))
    config = tmp_path / "model" / "config.pbtxt"
    assert said == f"{config} was created and names version [2], so a restart of Triton keeps it"
    assert config.read_text() == (
        "# Written by the control plane: this model had no config.pbtxt. Triton completes the rest by itself.\n"
        'name: "model"\nbackend: "python"\n'
        "# before the control plane's last switch: no version_policy\n"
        "version_policy: { specific: { versions: [ 2 ] } }\n"
    )
    await driver.close()


async def test_commit_refuses_a_broken_file_and_says_what_to_do(triton: FakeTriton, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.pbtxt").write_text("version_policy {")
    driver = TritonDriver(section({"url": triton.url, "repository": str(tmp_path)}), open_session())
    with pytest.raises(EngineRefused, match=r"could not be written .*set version_policy to \[2\] there by hand"):
        await driver.commit(placement("v2", url=triton.url))
    assert (tmp_path / "model" / "config.pbtxt").read_text() == "version_policy {"
    await driver.close()


async def test_commit_without_a_local_repository_says_that_a_restart_forgets(driver: TritonDriver) -> None:
    (said,) = await driver.commit(placement("v2"))
    assert "has no local `repository:`, so config.pbtxt was not written" in said


def test_a_load_request_is_what_tritons_proto_describes() -> None:
    """Decoded by hand from grpc_service.proto: model_name = 2, parameters = 3, string_param = 3."""
    body = grpc_loader.load_request("chat", "{}")
    assert body == b"\x12\x04chat\x1a\x0e\x0a\x06config\x12\x04\x1a\x02{}"
    long = grpc_loader.load_request("m", "x" * 300)
    assert long == b"\x12\x01m\x1a\xba\x02\x0a\x06config\x12\xaf\x02\x1a\xac\x02" + b"x" * 300


async def test_grpc_without_its_package_is_refused_when_planning(
    triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "grpc", None)
    driver = TritonDriver(section({"url": triton.url, "grpc": "127.0.0.1:8001"}), open_session())
    with pytest.raises(Refused, match="the grpcio package is not installed; `pip install grpcio`"):
        await driver.prepare("v2")
    await driver.close()


async def test_a_driver_is_built_for_each_model_that_can_be_switched() -> None:
    watched = ModelSection.model_validate(
        {"name": "other", "stable": "a", "versions": {"a": {}}, "traffic": {"driver": "none"}}
    )
    drivers = build_drivers([section({"url": "http://127.0.0.1:1"}), watched], FakeGateways())
    assert list(drivers) == ["chat"]
    for driver in drivers.values():
        await driver.close()
