"""Triton's generate extension, and the inference of KServe v2. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collectors.probe.protocol import BadAnswer, Dialect, Event, message_of
from collectors.probe.question import merged


@dataclass(frozen=True)
class TritonGenerate(Dialect):
    """POST /v2/models/M[/versions/V]/generate_stream or …/generate."""

    streams: bool = True
    ends_with_connection = True

    def body(self) -> dict[str, Any]:
        """Return the request body. `stream` is an input of the vLLM backend; other backends ignore it."""
        question = self.question
        made: dict[str, Any] = {question.tensors.input: question.prompt}
        if self.streams:
            made["stream"] = True
        if question.max_tokens is not None:  # an unknown input is refused, so there is no default
            made["max_tokens"] = question.max_tokens
        return merged(made, question.parameters)

    def event(self, data: str) -> Event:
        """Read one response. A decoupled model's last response may be empty. Raises BadAnswer for any other text."""
        message = message_of(data)
        name = self.question.tensors.output or "text_output"
        if name not in message:
            raise BadAnswer("malformed")
        output = message[name]
        text = "".join(map(str, output)) if isinstance(output, list) else str(output)
        return Event(content=bool(output), finished=False, text=text)


@dataclass(frozen=True)
class Infer(Dialect):
    """POST /v2/models/M[/versions/V]/infer with the tensors of the configuration."""

    generates = False

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        tensors = self.question.tensors
        made: dict[str, Any] = {
            "inputs": [
                {"name": t.name, "datatype": t.datatype, "shape": list(t.shape), "data": list(t.data)}
                for t in tensors.inputs
            ]
        }
        if tensors.output:
            made["outputs"] = [{"name": tensors.output}]
        return merged(made, self.question.parameters)

    def event(self, data: str) -> Event:
        """Read the answer. Raises BadAnswer for any other text, and when the named output is missing."""
        outputs = message_of(data).get("outputs")
        if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
            raise BadAnswer("malformed")
        name = self.question.tensors.output
        found = next((output for output in outputs if name in ("", output.get("name"))), None)
        if found is None:
            if name:
                raise BadAnswer("malformed")
            return Event(content=False, finished=True)
        values = found.get("data")
        if not isinstance(values, list):
            raise BadAnswer("malformed")
        return Event(bool(values), True, " ".join(map(str, values)))
