"""The question for candidates behind gateways: by the API of the model's servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import ConfigErrors
from controlplane.rollout.verification import verifications
from tests.fakes.fleet_text import parse_fleet

PROBES = """
targets:
  - {engine: probe, urls: ["http://a:1/v1/completions"], labels: {model: other}}
  - {engine: probe, urls: ["http://a:1/v2/models/llama/generate_stream"], labels: {model: chat}}
  - {engine: probe, urls: ["http://u:p@a:1/v1/chat/completions"], labels: {model: chat, version: v1}, prompt: "Say hi."}
"""


def asked(verify: str = "", engine: str = "vllm", second: str = "", targets: str = "") -> Any:
    fleet = f"""
fleet: {{name: a}}
{targets}
models:
  - name: chat
    stable: v1
    traffic: {{driver: gateway}}
    versions:
      v1: {{backends: [{{url: "http://a:1", engine: {engine}}}]}}
      v2: {{backends: [{{url: "http://b:1", engine: {second or engine}}}]}}
    {f"verify: {verify}" if verify else ""}
"""
    check = verifications(parse_fleet(fleet, Path("fleet.yaml")))["chat"].check
    return next(((each.path, each.body, check.origin) for each in check.questions), None)


@pytest.mark.parametrize(
    ("verify", "path"),
    [
        ("{body: {messages: []}}", "chat/completions"),
        ("{body: {prompt: hi}}", "completions"),
        ("{body: {input: [hi]}}", "embeddings"),
        ("{body: {input: [hi]}, path: completions}", "completions"),
        ("{prompt: hi}", "chat/completions"),
        ("{prompt: hi, path: completions}", "completions"),
    ],
)
def test_an_openai_engine_is_asked_by_its_own_paths(verify: str, path: str) -> None:
    found, body, origin = asked(verify)
    assert (found, origin) == (path, "`verify:` in fleet.yaml")
    if "prompt: hi" in verify and "body" not in verify:
        assert body["stream"] is True
        assert ("messages" in body) is (path == "chat/completions")


def test_a_triton_behind_a_gateway_is_asked_as_without_one() -> None:
    assert asked("{prompt: hi}", "triton")[0] == "generate_stream"
    assert asked("{body: {inputs: []}}", "triton")[0] == "infer"


def test_the_probe_that_fits_the_engines_is_the_question() -> None:
    path, body, origin = asked(targets=PROBES)
    assert (path, origin) == ("chat/completions", "the model's probe (http://a:1/v1/chat/completions)")
    assert body["messages"] == [{"role": "user", "content": "Say hi."}]
    assert asked(engine="triton", targets=PROBES)[0] == "generate_stream"
    assert asked(second="triton", targets=PROBES) is None
    assert asked() is None


@pytest.mark.parametrize(
    ("verify", "engine", "second", "fault"),
    [
        (
            "{prompt: hi}",
            "vllm",
            "triton",
            "models[0].verify: names one request, and the model's servers have two APIs",
        ),
        ("{prompt: hi, path: generate}", "vllm", "", "models[0].verify.path: generate is a path of Triton"),
        ("{body: {}, path: embeddings}", "triton", "", "models[0].verify.path: embeddings is a path of OpenAI's API"),
        ("{prompt: hi, path: embeddings}", "vllm", "", "models[0].verify.path: embeddings takes a body: with input"),
    ],
)
def test_a_question_that_fits_no_server_is_a_fault(verify: str, engine: str, second: str, fault: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        asked(verify, engine, second)
    (error,) = refused.value.errors
    assert f"{error.field}: {error.reason}".startswith(fault)
