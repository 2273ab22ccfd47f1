"""The questions of a probe in fleet.yaml."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from collectors.probe.question import Expectation, Question
from controlplane.config.scraping.targets import TargetGroup
from controlplane.rollout.probe_questions import questions_of

URL = "http://h/v1/chat/completions"


def group(**fields: Any) -> TargetGroup:
    return TargetGroup.model_validate({"engine": "probe", "urls": [URL], **fields})


def test_an_old_probe_has_one_question() -> None:
    assert questions_of(group(prompt="hi")) == (Question("hi"),)


def test_a_question_has_the_fields_of_its_target_and_its_own() -> None:
    made = group(
        max_tokens=4,
        parameters={"max_tokens": None, "seed": 1},
        expect={"contains": "4"},
        questions=[{"prompt": "a"}, {"prompt": "b", "parameters": {"seed": 2}, "expect": {"regex": "^b"}}],
    )
    assert questions_of(made) == (
        Question("a", max_tokens=4, parameters={"max_tokens": None, "seed": 1}, expect=Expectation("4")),
        Question("b", max_tokens=4, parameters={"max_tokens": None, "seed": 2}, expect=Expectation(regex="^b")),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"expect": {"dimension": 0}},
        {"max_tokens": 0},
        {"protocol": "grpc"},
        {"questions": [{}] * 21},
        {"questions": [{"parameters": {"a": "x" * 70_000}}]},
    ],
)
def test_what_is_out_of_bounds_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        group(**fields)
