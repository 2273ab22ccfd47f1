"""The supervisor with its real children, but for Triton and with a stand-in for the control plane."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.config.context import read_contexts
from controlplane.demo import supervise
from controlplane.demo.client import fault, load_lines, load_stats, running_demo
from controlplane.demo.state import read_state
from controlplane.demo.supervise import Demo, address, run_demo
from controlplane.demo.triton import TritonUnavailable
from controlplane.errors import ConfigError, NotFound, Unavailable

STAND_IN = """
import asyncio, hashlib, os, sys
from pathlib import Path
from aiohttp import web
from controlplane.config.loader import load_fleet
from controlplane.gateway.desired.build import build
from controlplane.gateway.desired.codec import encode
from controlplane.gateway.desired.document import KeySpec
host, port = sys.argv[sys.argv.index("--listen") + 1].rsplit(":", 1)
Path(__file__).with_name("seen").write_text(os.environ["CP_BOOTSTRAP_TOKEN"] + " " + " ".join(sys.argv[1:]))
if Path(__file__).with_name("broken").exists():
    sys.exit("database is locked")
fleet = load_fleet(Path(sys.argv[sys.argv.index("-c") + 1])).fleet
key = KeySpec("1", hashlib.sha256(b"secret").hexdigest(), "demo", "tester")
state = build(fleet.models, fleet.gateway, keys=[key])
made = Path(__file__).with_name("made")
def of(token):
    return lambda request: request.headers["Authorization"] == f"Bearer {token}"
async def ready(request):
    return web.Response()
async def create(request):
    assert of(os.environ["CP_BOOTSTRAP_TOKEN"])(request)
    made.write_text((made.read_text() if made.exists() else "") + f"{request.path} {await request.text()}\\n")
    return web.json_response({"token": "cp_gateway", "key": "cpk_1_secret"}, status=201)
async def desired(request):
    assert of("cp_gateway")(request)
    if request.query["revision"] == state.revision:
        await asyncio.sleep(float(request.query["wait"]))
        return web.Response(status=204)
    return web.Response(body=encode(state), content_type="application/json")
async def report(request):
    return web.json_response({"shares": {}})
app = web.Application()
app.add_routes([web.get("/readyz", ready), web.post("/cp/v1/tokens", create), web.post("/cp/v1/keys", create)])
app.add_routes([web.get("/cp/v1/gateways/desired", desired), web.post("/cp/v1/gateways/report", report)])
web.run_app(app, host=host, port=int(port), print=None, shutdown_timeout=0.1, handler_cancellation=True)
"""


Alive = Callable[[dict[str, int]], list[str]]


class Scene:
    """A data folder, an environment of its own, and a demo that runs in it."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "demo"
        self.folder.mkdir()
        self.program = tmp_path / "control_plane.py"
        self.program.write_text(STAND_IN)
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
        self.contexts = tmp_path / "config" / "controlplane" / "config.toml"
        self.task: asyncio.Task[int] | None = None

    def demo(self, listen: str = "127.0.0.1:0") -> Demo:
        return Demo(listen, self.folder, self.environment, control_plane=[str(self.program)])

    async def ready(self) -> Any:
        """Start the demo and return its state once it is ready."""
        self.task = asyncio.create_task(self.demo().run(None))
        while not self.contexts.exists():
            if self.task.done():
                raise AssertionError(f"the demo ended: {self.task.result()}")
            await asyncio.sleep(0.02)
        return read_state(self.folder / "demo.json")

    async def ended(self) -> int:
        assert self.task is not None
        return await self.task


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    def unavailable() -> None:
        raise TritonUnavailable("this is a test")

    monkeypatch.setattr("controlplane.demo.triton.find_triton", unavailable)
    return Scene(tmp_path)


@pytest.fixture
def alive(members: Callable[[int], list[int]]) -> Alive:
    """The names of those children that have a living process."""
    return lambda pids: [name for name, pid in pids.items() if members(pid)]


async def test_it_is_ready_writes_itself_down_and_leaves_nothing_on_ctrl_c(
    scene: Scene, alive: Alive, capsys: pytest.CaptureFixture[str]
) -> None:
    state = await scene.ready()
    assert sorted(state.children) == ["control plane", "gateway", "load generator", "simulators"]
    context = read_contexts(scene.contexts).active
    assert context is not None
    seen = (scene.program.parent / "seen").read_text().split()
    assert (context.url, context.token) == (state.url, seen[0])
    assert seen[1:3] == ["-c", str(scene.folder / "fleet.yaml")]
    for secret in ("token", "gateway-token", "api-key"):
        assert (scene.folder / secret).stat().st_mode & 0o777 == 0o600

    os.kill(os.getpid(), signal.SIGINT)
    assert await scene.ended() == 0
    assert alive(state.children) == []
    assert not scene.contexts.exists()
    assert not (scene.folder / "demo.json").exists()
    out = capsys.readouterr().out
    assert "The demo runs without Triton and its model 'model': this is a test" in out
    assert context.token in out
    assert "requests to chat, 0 failed, 0 cut" in out


async def test_faults_and_load_are_reached_through_the_state(scene: Scene) -> None:
    state = await scene.ready()
    assert await asyncio.to_thread(fault, "gpu-hot", state) == "active: gpu-hot (simulated GPU 3 heats up to 93 °C)"
    assert await asyncio.to_thread(fault, "slow-v2", state)
    assert json.loads((scene.folder / "triton-faults.json").read_text()) == {"slow": {"2": 4.0}}
    assert await asyncio.to_thread(fault, "clear", state) == "no fault is active"
    assert json.loads((scene.folder / "triton-faults.json").read_text()) == {"slow": {}}
    with pytest.raises(NotFound, match="slow-v2"):
        await asyncio.to_thread(fault, "nonsense", state)
    stats = await asyncio.to_thread(load_stats, state)
    assert load_lines(stats)[0].startswith("load: ")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await scene.ended() == 0
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.to_thread(load_stats, state)


async def test_a_home_that_cannot_take_the_context_is_got_around(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.environment["XDG_CONFIG_HOME"] = "/dev/null"
    scene.contexts = scene.folder / "config" / "controlplane" / "config.toml"
    state = await scene.ready()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(scene.folder / "config"))
    assert running_demo() == state
    os.kill(os.getpid(), signal.SIGTERM)
    assert await scene.ended() == 0
    assert not scene.contexts.exists()
    assert f"export XDG_CONFIG_HOME={scene.folder / 'config'}" in capsys.readouterr().out


async def test_a_control_plane_that_does_not_start_ends_the_demo_with_its_words(scene: Scene) -> None:
    (scene.program.parent / "broken").touch()
    with pytest.raises(Unavailable, match=r"(?s)control plane ended \(exit status 1\).*database is locked"):
        await scene.demo().run(None)
    assert not scene.contexts.exists()


async def test_a_control_plane_that_dies_ends_the_demo(
    scene: Scene, alive: Alive, capsys: pytest.CaptureFixture[str]
) -> None:
    state = await scene.ready()
    os.kill(state.children["control plane"], signal.SIGKILL)
    assert await scene.ended() == 1
    assert alive(state.children) == []
    assert "control plane ended (signal 9)" in capsys.readouterr().out


async def test_simulators_that_die_do_not_end_it(
    scene: Scene, alive: Alive, capsys: pytest.CaptureFixture[str]
) -> None:
    state = await scene.ready()
    os.kill(state.children["simulators"], signal.SIGKILL)
    out = ""
    while "the demo goes on without its simulators" not in out:
        out += capsys.readouterr().out
        await asyncio.sleep(0.02)
    assert alive(state.children) == ["control plane", "gateway", "load generator"]
    os.kill(os.getpid(), signal.SIGINT)
    assert await scene.ended() == 0


async def test_a_second_ctrl_c_kills_at_once(scene: Scene, alive: Alive, capsys: pytest.CaptureFixture[str]) -> None:
    state = await scene.ready()
    os.kill(os.getpid(), signal.SIGINT)
    out = ""
    while "stopping (Ctrl-C again" not in out:  # two signals that are pending at once are one
        out += capsys.readouterr().out
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)
    assert await scene.ended() == 130
    assert alive(state.children) == []
    assert not scene.contexts.exists()


async def test_ctrl_c_while_it_starts_leaves_nothing(scene: Scene) -> None:
    task = asyncio.create_task(scene.demo().run(None))
    while not (scene.folder / "logs" / "simulators.log").exists():  # noqa: ASYNC110 - a child writes it
        await asyncio.sleep(0.005)
    os.kill(os.getpid(), signal.SIGINT)
    assert await task == 0
    assert not (scene.folder / "fleet.yaml").exists()


async def test_it_stops_by_itself_after_its_duration(scene: Scene) -> None:
    assert await scene.demo().run(0.05) == 0


async def test_a_kept_folder_keeps_its_token(scene: Scene) -> None:
    await scene.demo().run(0.01)
    first = (scene.folder / "token").read_text()
    await scene.demo().run(0.01)
    assert (scene.folder / "token").read_text() == first
    assert (scene.program.parent / "seen").read_text().split()[0] == first


async def test_two_demos_in_one_folder_are_refused(scene: Scene) -> None:
    state = await scene.ready()
    with pytest.raises(Unavailable, match=rf"already \(process {state.pid}"):
        scene.demo()
    os.kill(os.getpid(), signal.SIGINT)
    await scene.ended()


def test_a_port_that_is_taken_is_named_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"127\.0\.0\.1:{port}: something listens .* --listen 127\.0\.0\.1:{port + 1}"
        ):
            address(f"127.0.0.1:{port}")


@pytest.mark.parametrize("listen", ["", "8080", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_listen_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(Unavailable, match="expected host:port"):
        address(listen)


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        run_demo("no address", tmp_path / "file" / "demo")
    assert str(refused.value) == f"{tmp_path}/file/demo: --data-dir: cannot be created: Not a directory"


def test_a_data_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ConfigError, match="--data-dir: this user cannot write there; choose another folder"):
        run_demo("no address", tmp_path)


def test_the_temporary_folder_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Path] = []

    class Fake(Demo):
        def __init__(self, listen: str, data_dir: Path, environment: Any, *, kept: bool) -> None:
            seen.append(data_dir)
            (data_dir / "file").touch()
            (data_dir / "data").mkdir()
            (data_dir / "logs").mkdir()
            (data_dir / "logs" / "control-plane.log").write_text(log)

        async def run(self, duration_s: float | None) -> int:
            return code

    monkeypatch.setattr(supervise, "Demo", Fake)
    for outcome in ((0, "fine"), (130, "fine"), (1, "")):
        code, log = outcome
        assert run_demo("127.0.0.1:0") == code
        assert not seen[-1].exists()
    code, log = 1, "no module named cramjam"
    assert run_demo("127.0.0.1:0") == 1  # it told the user to read the log
    assert [path.name for path in seen[-1].iterdir()] == ["logs"]
    shutil.rmtree(seen[-1])
    kept = tmp_path / "kept"
    assert run_demo("127.0.0.1:0", kept) == 1
    assert (kept / "file").exists()
