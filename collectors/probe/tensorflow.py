"""TensorFlow Serving's predict. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from collectors.probe.protocol import BadAnswer, Dialect, Event, message_of
from collectors.probe.question import merged


@dataclass(frozen=True)
class Predict(Dialect):
    """POST /v1/models/M[/versions/V]:predict. The text of the answer is the JSON of its predictions."""

    generates = False

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        question = self.question
        return merged({"instances": list(question.instances or (question.prompt,))}, question.parameters)

    def event(self, data: str) -> Event:
        """Read the answer, of the row format or the column format. Raises BadAnswer for any other text."""
        message = message_of(data)
        if "predictions" not in message and "outputs" not in message:
            raise BadAnswer("malformed")
        found = message.get("predictions", message.get("outputs"))
        return Event(found not in (None, [], {}), True, json.dumps(found))
