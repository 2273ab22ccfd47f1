"""What a model's candidates are asked: its own `verify:`, or else what its Triton probe asks."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.probe.question import Expectation
from controlplane.config.model import Fleet
from controlplane.rollout.model import Check
from controlplane.rollout.verification import Verification, verifications
from controlplane.traffic.driver import Question

PROBE = {"engine": "probe", "urls": ["http://gate:80/v2/models/llm/generate"], "prompt": "hello"}
VERIFY = "`verify:` in fleet.yaml"


def of(verify: dict[str, Any] | None = None, *targets: dict[str, Any], interval: str = "1s") -> Verification:
    model = {
        "name": "chat",
        "stable": "v1",
        "traffic": {"driver": "triton", "model": "llm", "backends": [{"url": "http://a:8000"}]},
        "versions": {"v1": {}, "v2": {}},
    } | ({"verify": verify} if verify is not None else {})
    scrape = {"interval": interval}
    fleet = Fleet.model_validate(
        {"fleet": {"name": "f"}, "scrape": scrape, "models": [model], "targets": list(targets)}
    )
    return verifications(fleet)["chat"]


@pytest.mark.parametrize(
    ("verify", "question"),
    [
        ({"body": {"inputs": []}}, Question("infer", {"inputs": []})),
        ({"body": {"text_input": "x"}}, Question("generate_stream", {"text_input": "x"})),
        ({"body": {"text_input": "x"}, "path": "generate"}, Question("generate", {"text_input": "x"})),
        ({"prompt": "x", "path": "generate"}, Question("generate", {"text_input": "x"})),
        ({"prompt": "x"}, Question("generate_stream", {"text_input": "x", "stream": True})),
        ({"prompt": "x", "status": 418, "timeout": "2s"}, Question("generate_stream", {}, 418, 2.0)),
    ],
)
def test_the_models_own_question(verify: dict[str, Any], question: Question) -> None:
    found = of(verify, PROBE).check
    (only,) = found.questions
    assert (only.path, only.status, only.timeout_s) == (
        question.path,
        question.status,
        question.timeout_s,
    )
    assert only.body == (question.body or only.body)
    assert (found.requests, found.failures, found.origin) == (5, 0, VERIFY)


@pytest.mark.parametrize(
    "probe",
    [
        PROBE,
        {**PROBE, "labels": {"model": "chat"}},
        {**PROBE, "model_name": "chat"},
        {**PROBE, "urls": ["http://gate:80/v1/whatever/generate"], "labels": {"model": "chat"}, "protocol": "triton"},
    ],
    ids=["by its address", "by its label", "by its name", "by its label alone"],
)
def test_the_probes_question(probe: dict[str, Any]) -> None:
    found = of(None, probe).check
    assert found.questions == (Question("generate", {"text_input": "hello"}, prompt="hello"),)
    assert found.origin == f"the model's probe ({probe['urls'][0]})"


@pytest.mark.parametrize(
    "probe",
    [
        {**PROBE, "labels": {"model": "other"}},
        {**PROBE, "urls": ["http://gate:80/v2/models/other/generate"]},
        {"engine": "probe", "urls": ["http://gate:80/v1/chat/completions"], "labels": {"model": "chat"}},
        {"engine": "vllm", "addresses": ["a:1"], "labels": {"model": "chat"}},
    ],
    ids=["another model's label", "another model's address", "an API without versions", "no probe"],
)
def test_what_is_no_question_for_a_version(probe: dict[str, Any]) -> None:
    assert of(None, probe).check == Check()


def test_a_password_in_the_probes_address_is_not_told() -> None:
    probe = {**PROBE, "urls": ["http://me:secret@gate:80/v2/models/llm/generate?key=secret"]}
    assert of(None, probe).check.origin == "the model's probe (http://gate:80/v2/models/llm/generate)"


def test_limits_and_how_long_it_is_watched() -> None:
    check = of({"latency": "2s", "error_ratio": 0.5, "failures": 1, "requests": 3}, PROBE).check
    assert (check.latency_s, check.error_ratio, check.failures, check.requests) == (2.0, 0.5, 1, 3)
    assert check.origin.startswith("the model's probe"), "limits alone leave the question to the probe"
    assert (of().watch_s, of(interval="15s").watch_s, of({"for": "1m"}).watch_s) == (5.0, 31.0, 60.0)
    assert of({"requests": 0}, PROBE).check.questions == ()


def test_the_probes_parameters_and_budget_are_part_of_its_question() -> None:
    probe = {**PROBE, "max_tokens": 8, "parameters": {"bad_words": ""}}
    body = {"text_input": "hello", "max_tokens": 8, "bad_words": ""}
    assert of(None, probe).check.questions == (Question("generate", body, prompt="hello"),)


def test_all_questions_of_the_probe_are_asked_at_least_once_with_what_each_expects() -> None:
    questions = [{"prompt": "a", "expect": {"contains": "A"}}, *({"prompt": f"b{number}"} for number in range(6))]
    probe = {**PROBE, "expect": {"regex": "B"}, "tensors": {"output": "answer"}, "questions": questions}
    check = of(None, probe).check
    assert [(each.prompt, each.body["text_input"]) for each in check.questions[:2]] == [("a", "a"), ("b0", "b0")]
    assert [each.expect for each in check.questions[:2]] == [Expectation("A"), Expectation(regex="B")]
    assert {each.output for each in check.questions} == {"answer"}
    assert check.requests == 7, "requests: is 5 by default"
    assert check.patience_s == 140.0, "7 requests of 10 s each, and the stable version's answer to each question"
    assert of({"requests": 0}, probe).check.questions == ()


def test_where_an_error_is_wanted_the_probes_expected_answer_does_not_count() -> None:
    (question,) = of({"status": 400}, {**PROBE, "expect": {"contains": "A"}}).check.questions
    assert (question.status, question.expect) == (400, Expectation())
