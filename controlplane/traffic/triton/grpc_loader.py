"""Load orders over gRPC. They must not go over Triton's HTTP port while clients use that port.

Triton carries a load out on the HTTP thread that received it. Every connection of that thread, clients' streams
included, waits until the model is loaded. Triton's gRPC port has its own threads. The only call is unary, and its
request has few fields, so there is no generated code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.words import told
from controlplane.varint import varint

_METHOD = "/inference.GRPCInferenceService/RepositoryModelLoad"
_LOST = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"})


def missing_package() -> str:
    """Return why gRPC cannot be used, with the cure; "" when it can."""
    try:
        _aio()
    except ImportError:
        return "the grpcio package is not installed; `pip install grpcio`, or remove the backend's `grpc:`"
    return ""


def _aio() -> Any:
    """Return grpc.aio, an optional dependency that only a backend's `grpc:` needs. Raises ImportError."""
    # gRPC's fork handlers may end a child (SIGABRT) before it executes its program. They are not needed: every child
    # executes another program.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import grpc.aio

    return grpc.aio


class GrpcLoader:
    """Sends load orders to one Triton server's gRPC address (host:port, plaintext)."""

    def __init__(self, address: str, cure: Callable[[str], str]) -> None:
        """`cure` returns Triton's message with its cure, if the cure is known."""
        self._address, self._cure = address, cure
        self._channel: Any = None

    async def load(self, model: str, config: dict[str, Any], timeout_s: float) -> None:
        """Load `model` with `config`. Raises EngineRefused with Triton's words, or Unavailable when no reply came."""
        aio = _aio()
        if self._channel is None:
            self._channel = aio.insecure_channel(self._address)
        call = self._channel.unary_unary(_METHOD)  # bytes in, bytes out
        try:
            await call(load_request(model, json.dumps(config)), timeout=timeout_s)
        except aio.AioRpcError as error:
            words = told(error.details() or "")
            cured = self._cure(words)
            if error.code().name in _LOST and cured == words:
                raise Unavailable(f"grpc://{self._address} did not answer: {error.code().name} {words}") from error
            raise EngineRefused(f"grpc://{self._address} answered: {cured}") from error

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()


def load_request(model: str, config: str) -> bytes:
    """Return an encoded inference.RepositoryModelLoadRequest with the parameter `config` (Triton's grpc_service.proto).

    Field 2 is model_name. Field 3 is the map of parameters, whose values hold a string in their field 3.
    """
    parameter = _field(3, config.encode())
    entry = _field(1, b"config") + _field(2, parameter)
    return _field(2, model.encode()) + _field(3, entry)


def _field(number: int, body: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + varint(len(body)) + body
