"""Edits of a probe's questions: each adds the part of the configuration that the field is in."""

from __future__ import annotations

from typing import Any

PROBE: tuple[str | int, ...] = ("targets", 2)
_INPUT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}

PROBE_EDITS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("targets[].max_tokens", (*PROBE, "max_tokens"), 3),
    ("targets[].parameters", (*PROBE, "parameters"), {"max_tokens": None, "top_k": 1}),
    *(
        (f"targets[].expect.{name}", (*PROBE, "expect"), {name: value})
        for name, value in (("contains", "pong"), ("regex", "po+ng"), ("dimension", 8))
    ),
    *(
        (f"targets[].tensors.{name}", (*PROBE, "tensors"), {name: value})
        for name, value in (("input", "INPUT0"), ("output", "OUTPUT0"))
    ),
    *((f"targets[].tensors.inputs[].{name}", (*PROBE, "tensors"), {"inputs": [_INPUT]}) for name in _INPUT),
    *(
        (f"targets[].questions[].{name}", (*PROBE, "questions"), [{"prompt": "one"}, {name: value}])
        for name, value in (
            ("prompt", "two"),
            ("documents", ["a", "b"]),
            ("instances", [1]),
            ("max_tokens", 2),
            ("parameters", {"seed": 1}),
            ("expect", {"contains": "two"}),
            ("tensors", {"input": "INPUT1"}),
        )
    ),
]
