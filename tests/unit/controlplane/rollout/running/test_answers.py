"""Answers to a candidate's questions, compared with what the questions expect."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.probe.question import Expectation
from controlplane.rollout.running.answers import unexpected
from controlplane.traffic.driver import Answer, Question, ServerReply

A, B = "http://a:1", "http://b:1"


def came(*bodies: str, path: str = "chat/completions", output: str = "", **expect: Any) -> str:
    """Return the fault of the servers' bodies, of A and then of B."""
    replies = tuple(ServerReply(url, "", 0.1, None, body.encode()) for url, body in zip((A, B), bodies, strict=False))
    return unexpected(Question(path, expect=Expectation(**expect), output=output), Answer("", 0.1, replies))


def chat(text: str) -> str:
    return f'{{"choices": [{{"message": {{"content": "{text}"}}, "finish_reason": "stop"}}]}}'


def test_an_answer_with_all_that_is_expected_is_good() -> None:
    assert came(chat("it is 4."), contains="4", regex=r"\d\.$") == ""
    assert came(chat("4"), chat("4"), contains="4") == ""


def test_a_stream_is_compared_as_the_text_that_it_makes() -> None:
    chunks = "".join(f'data: {{"choices": [{{"delta": {{"content": "{part}"}}}}]}}\n\n' for part in ("4", "2"))
    assert came(chunks + "data: [DONE]\n\n", regex="^42$") == ""
    assert came(chunks + "data: [DONE]\n\n", regex="^4$").endswith(f'"42" came from {A}')


@pytest.mark.parametrize(
    ("path", "output", "body", "expect"),
    [
        ("completions", "", '{"choices": [{"text": "yes", "finish_reason": "stop"}]}', {"contains": "yes"}),
        ("embeddings", "", '{"data": [{"embedding": [0.1, 0.2, 0.3]}]}', {"dimension": 3}),
        ("rerank", "", '{"results": [{"index": 1, "relevance_score": 0.9}]}', {"contains": '"index": 1'}),
        ("generate", "", '{"text_output": "yes"}', {"contains": "yes"}),
        ("generate", "answer", '{"answer": "yes"}', {"contains": "yes"}),
        ("generate_stream", "", 'data: {"text_output": "y"}\n\ndata: {"text_output": "es"}\n\n', {"regex": "^yes$"}),
        ("infer", "y", '{"outputs": [{"name": "x", "data": [1]}, {"name": "y", "data": [7, 8]}]}', {"regex": "^7 8$"}),
    ],
)
def test_each_protocol_is_read_as_its_probe_reads_it(path: str, output: str, body: str, expect: Any) -> None:
    assert came(body, path=path, output=output, **expect) == ""
    other = {"dimension": 4} if "dimension" in expect else {"contains": "nothing of that"}
    assert came(body, path=path, output=output, **other).endswith(f"came from {A}")


def test_a_wrong_answer_of_one_server_is_told_with_what_was_expected() -> None:
    wrong = came(chat("4"), chat("about\\nfive"), contains="4", regex="^[0-9]+$")
    assert wrong == f'expected a text with "4" and a text that matches "^[0-9]+$", and "about five" came from {B}'
    vector = came('{"data": [{"embedding": [0.1, 0.2]}]}', path="embeddings", dimension=3)
    assert vector == f"expected a vector of 3 numbers, and a vector of 2 numbers came from {A}"


def test_a_long_answer_is_shortened_and_keys_in_it_are_masked() -> None:
    assert came(chat("x" * 500), contains="4").endswith(f'"{"x" * 100}…" came from {A}')
    told = came(chat("my key is sk-abcdef1234567890 \\u202e"), contains="4")
    assert "sk-abc" not in told
    assert "\u202e" not in told


def test_an_answer_of_another_protocol_is_wrong_and_not_read() -> None:
    told = came("<html>", contains="4")
    assert told == f'expected a text with "4", and {A} gave no answer of chat/completions (malformed)'


def test_a_driver_without_answers_is_told() -> None:
    assert came(contains="4") == "the driver of this model shows no answers, so nothing can be expected of them"
