"""Logs of real programs: llama-server's file, and what the real docker command prints."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest

from collectors.logs.commands import Command, Docker, Plain, Pod
from collectors.logs.follow import Follow
from collectors.logs.patterns import load_patterns
from collectors.logs.places import LogPlace
from collectors.logs.settings import PodLog
from collectors.logs.tail import Tail
from tests.contract.real_servers import llama_command, llama_router, llama_server
from tests.fakes.docker_logs import container
from tests.fakes.pod_logs import pod
from tests.patience import HANG_S, PROCESS_S, wait_until
from tests.unit.collectors.logs.sinks import Lines

OOM = "main: error: unable to load model\nCUDA error: out of memory"
"""Words of faults, which a user says."""


def events(lines: Lines) -> set[str]:
    known = load_patterns().engines["llamacpp"]
    return {event for line in lines.new() for event in known.events_in(line)}


def whole(folder: Path, lines: Lines) -> Tail:
    """Follow a folder's logs from their beginning."""
    return Tail([f"{folder}/*.log"], lines, before=LogPlace())


@pytest.mark.needs("llama-server")
def test_a_healthy_llama_server_tells_no_event_and_kill_9_neither(tmp_path: Path) -> None:
    lines = Lines()
    tail = whole(tmp_path, lines)
    with llama_server(tmp_path) as server:
        chat = {"model": "tiny", "messages": [{"role": "user", "content": OOM}], "max_tokens": 3}
        httpx.post(f"{server.url}/v1/chat/completions", json=chat, timeout=HANG_S).raise_for_status()
        long = {"model": "tiny", "prompt": [1] * 40_000, "max_tokens": 3}
        assert httpx.post(f"{server.url}/v1/completions", json=long, timeout=HANG_S).status_code == 400
        tail.poll(0.0)
        assert any("model loaded" in line for line in lines.taken)
        assert events(lines) == set()
        server.process.kill()
        server.process.wait(PROCESS_S)
        tail.poll(1.0)
        assert events(lines) == set()
    tail.close()


@pytest.mark.needs("llama-server")
def test_a_full_cache_of_llama_server_is_known(tmp_path: Path) -> None:
    lines = Lines()
    tail = whole(tmp_path, lines)
    with llama_server(tmp_path, "-c", "512", "--kv-unified") as server, ThreadPoolExecutor() as pool:
        body = {"model": "tiny", "prompt": "ab" * 100, "max_tokens": 1000}
        ask = [pool.submit(httpx.post, f"{server.url}/v1/completions", json=body, timeout=HANG_S) for _ in range(2)]
        assert {answer.result().status_code for answer in ask} == {500}
        tail.poll(0.0)
    tail.close()
    assert events(lines) == {"kv_cache_full"}


@pytest.mark.needs("llama-server")
@pytest.mark.parametrize("content", [b"GGUF and nothing more", b"no model at all", None])
def test_a_model_that_cannot_be_loaded_is_known(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "broken.gguf").write_bytes(content)
    with (tmp_path / "engine.log").open("wb") as output:
        command = [*llama_command(), "-m", f"{tmp_path}/broken.gguf"]
        assert subprocess.run(command, stdout=output, stderr=output, timeout=PROCESS_S, check=False).returncode == 1
    lines = Lines()
    whole(tmp_path, lines).poll(0.0)
    assert events(lines) == {"model_load_failed"}


@pytest.mark.needs("llama-server")
def test_a_router_tells_of_the_one_model_that_it_cannot_load(tmp_path: Path) -> None:
    lines = Lines()
    tail = whole(tmp_path, lines)
    with llama_router(tmp_path, ("a",), at_most=1) as url:
        for model, status in (("a", 200), ("broken", 500)):
            body = {"model": model, "prompt": "hi", "max_tokens": 2}
            assert httpx.post(f"{url}/v1/completions", json=body, timeout=HANG_S).status_code == status
            tail.poll(0.0)
            assert events(lines) == ({"model_load_failed"} if model == "broken" else set())
    tail.close()


FIRST = 1_795_964_400_000_000_001
"""2026-11-29T15:00:00.000000001Z in nanoseconds of unix time."""


def read(command: Command, lines: Lines) -> str:
    """Follow until the command ends, and return why it ended."""
    follow = Follow(command, lines, wait_s=0.1)
    wait_until(lambda: (follow.poll(0.0), follow.faults)[1])
    follow.close()
    return follow.faults[0].sentence


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command is not installed")
@pytest.mark.parametrize("tty", [False, True])
def test_the_docker_command_goes_on_after_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tty: bool
) -> None:
    lines = Lines()
    with container(tmp_path) as (engine, host):
        monkeypatch.setenv("DOCKER_HOST", host)
        engine.tty = tty
        engine.lines = [(FIRST, 1, "one"), (FIRST + 1, 2, "\x1b[36mtwo\x1b[0m"), (FIRST + 1_000_000_000, 1, "")]
        docker = Docker("engine", now=0.0)
        assert "ended with exit code 0" in read(docker, lines)
        assert sorted(lines.new()) == ["", "one", "two"]
        assert sorted(lines.written) == [FIRST, FIRST + 1, FIRST + 1_000_000_000]

        engine.lines.append((FIRST + 1_000_000_001, 2, "x" * 70_000))
        engine.lines.append((FIRST + 1_000_000_002, 1, "after a restart"))
        read(docker, lines)
        assert engine.asked == ["0.000000000", "1795964401.000000001"]
        assert sorted(map(len, lines.new())) == [15, (64 << 10) - 31], "the time is within the line's 64 KiB"

        engine.gone = True
        said = read(docker, lines)
        assert "exit code 1" in said and "No such container: engine" in said


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_ends_with_its_container_and_says_when_a_pod_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl caches what it discovers
    monkeypatch.setenv("KUBECONFIG", "/dev/null")
    lines = Lines()
    with pod() as (engine, url):
        words = ["kubectl", "--server", url, "logs", "--follow", "--tail=0"]
        engine.output = "(EngineCore pid=7) INFO ready\n\x1b[36m(EngineCore pid=7)\x1b[0m ERROR no line break"
        assert "ended with exit code 0" in read(Plain([*words, "engine"]), lines)
        assert lines.new() == ["(EngineCore pid=7) INFO ready", "(EngineCore pid=7) ERROR no line break"]
        engine.output = (
            "2026-11-29T15:00:00.000000001Z torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n"
        )
        read(Plain([*words, "--timestamps", "engine"]), lines)
        assert load_patterns().engines["vllm"].events_in(lines.new()[0]) == ("cuda_out_of_memory",)
        assert [query.count("tailLines=0") for query in engine.asked] == [1, 1]
        said = read(Plain([*words, "gone"]), lines)
        assert "exit code 1" in said and "NotFound" in said


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_goes_on_after_the_last_line_also_in_a_new_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = Lines()
    with pod() as (engine, url):
        config = {"clusters": [{"name": "c", "cluster": {"server": url}}], "current-context": "c"}
        contexts = {"contexts": [{"name": "c", "context": {"cluster": "c"}}], "apiVersion": "v1", "kind": "Config"}
        (tmp_path / "kubeconfig").write_text(json.dumps(config | contexts))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        log = PodLog("default", "engine", "vllm")
        followed = Pod(log, now=1_795_964_400.25)
        engine.output = "2026-11-29T15:00:00.1Z before the start\n2026-11-29T15:00:00.3Z one\n"
        assert "ended with exit code 0" in read(followed, lines)
        engine.output += "2026-11-29T15:00:00.300000001Z two\n2026-11-29T23:00:01+08:00 of the pod after it\n"
        read(Pod(log, now=0.0, at=followed.at), lines)
        assert lines.new() == ["one", "two", "of the pod after it"]
        assert lines.written == [1_795_964_400_300_000_000, 1_795_964_400_300_000_001, 1_795_964_401_000_000_000]
        asked = [dict(parse_qsl(query)) for query in engine.asked]
        assert [one["sinceTime"] for one in asked] == ["2026-11-29T15:00:00Z"] * 2
        assert {one["container"] for one in asked} == {"vllm"}
