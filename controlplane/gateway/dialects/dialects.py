"""All dialects behind one face: the implementation of `seams.Dialects`. It has no state."""

from __future__ import annotations

from controlplane.gateway.desired.document import BackendSpec
from controlplane.gateway.dialects import models, routes, shapes
from controlplane.gateway.dialects.answers import readers
from controlplane.gateway.dialects.asking import ask, outgoing
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Fields, Operation, RequestHead
from controlplane.gateway.seams import AnswerReader


class AllDialects:
    """OpenAI, Anthropic, Ollama, Triton and KServe v2, and any other path of an engine."""

    def recognise(self, head: RequestHead) -> Operation | Refusal:
        """Return the operation of a method and path, or a refusal."""
        return routes.recognise(head)

    def read(self, operation: Operation, head: RequestHead, body: bytes) -> Ask | Refusal:
        """Return what a request asks, or a refusal that says what is wrong with it."""
        return ask.ask(operation, head, body)

    def outgoing(self, asked: Ask, head: RequestHead, body: bytes, backend: BackendSpec) -> tuple[bytes, bytes]:
        """Return (target, body) for a backend."""
        return outgoing.outgoing(asked, head, body, backend)

    def reader(self, asked: Ask, status: int, fields: Fields) -> AnswerReader:
        """Return a reader of one answer."""
        return readers.reader(asked, status, fields)

    def refuse(self, operation: Operation | None, refusal: Refusal, request_id: str) -> tuple[int, Fields, bytes]:
        """Return (status, fields, body) of a refusal in the dialect's shape."""
        return shapes.refuse(operation, refusal, request_id)

    def broken(self, operation: Operation, message: str, request_id: str) -> bytes:
        """Return the event that says in the middle of a stream that the answer broke off."""
        return shapes.broken(operation, message, request_id)

    def models(self, operation: Operation, path: bytes, names: list[str], created: int) -> bytes | Refusal:
        """Return the body of an operation that the gateway answers by itself."""
        return models.models(operation, path, names, created)
