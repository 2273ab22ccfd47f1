"""The fields that all drivers share: the servers of a version, and the timeouts of a switch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from collectors.engines.kinds import AUTO, BACKENDS
from controlplane.config.checking import Fault, Loc, check
from controlplane.config.gateway import Count, Size
from controlplane.config.names.engine_names import BackendEngine
from controlplane.config.remote import EngineUrl
from controlplane.config.vocabulary import (
    Access,
    Address,
    Duration,
    FilePath,
    HttpUrl,
    LabelName,
    Model,
    ModelName,
    Text,
)

_NAME_IT = f"name the server, one of: {', '.join(BACKENDS)}"
UNNAMED = f"is required: {_NAME_IT}"


def _named(value: object) -> object:
    if value == AUTO:
        raise ValueError(f"auto is for targets:. A backend is asked by the API of its engine, so {_NAME_IT}")
    return value


class Backend(Access):
    """One server that serves a version."""

    url: EngineUrl
    metrics: HttpUrl | None = None
    engine: Annotated[BackendEngine | None, BeforeValidator(_named)] = None
    """Kind of the server. Under `traffic` the driver determines it; under `versions` it is required."""
    repository: FilePath | None = None
    """triton only: path of the model repository, if it is local. The configuration is then written to config.pbtxt."""
    grpc: Address | None = None
    """triton only: address for load orders. Over HTTP, a load blocks clients' connections until the model is loaded."""
    gpus: float = Field(default=1.0, ge=0)
    """Number of GPUs that the backend occupies, for the cost ledger."""
    labels: dict[LabelName, Text] = Field(default={})
    max_in_flight: Count | None = None
    """Most requests that the gateway has open there. Default: no limit, so the server queues by itself."""
    adapters: tuple[ModelName, ...] = ()
    """LoRA adapters that are loaded there. The gateway serves them as models of their names."""
    draining: bool = False
    """Whether the gateway sends no new request there."""

    @check
    def _grpc_is_plain(self) -> Iterator[Fault]:
        if self.grpc and (self.authorization or self.basic_auth or self.tls):
            yield Fault(("grpc",), "load orders go in plain text and without credentials; remove it here")

    @check
    def _labels_are_plain(self) -> Iterator[Fault]:
        if named := next((name for name in self.labels if name.startswith("__")), None):
            yield Fault(
                ("labels", named), "has no effect on a backend; write the whole address of its metrics: metrics: URL"
            )


class VersionSection(Model):
    """A version of a model. On Triton, `v2` is version directory 2 and needs no other field."""

    backends: tuple[Backend, ...] = ()
    model: ModelName | None = None
    """The name of the model on the backends of this version. Default: the model's name in the engine."""
    memory: Size | None = None
    """GPU memory of the version's weights on one backend, over all its GPUs. Default: not known."""
    kv_cache: Size | None = None
    """Least GPU memory of its KV cache on one backend, over all its GPUs."""
    files: FilePath | None = None
    """Folder of the version's files, or its only file. Default: the model's `files`."""

    @check
    def _cache_is_beside_weights(self) -> Iterator[Fault]:
        if self.kv_cache is not None and self.memory is None:
            yield Fault(("kv_cache",), "needs memory:, the size of the weights")


class Traffic(Model):
    """Fields of every driver. A driver moves a model's traffic."""

    moves: ClassVar[str | None]
    """Kind of the servers that serve every version, under `traffic`. None: they may be of any kind."""
    why_moves: ClassVar[str] = ""
    """Why a server under `traffic` can be of no other kind."""
    switches: ClassVar[bool] = True
    """Whether the driver moves traffic. The driver `none` only watches."""
    one_engine: ClassVar[str | None] = None
    """Kind of all the model's servers, where the driver knows only one."""
    model: ModelName | None = None
    """The engine's name of the model. Default: the fleet's name of it."""
    backends: tuple[Backend, ...] = ()
    drain_timeout: Duration = 300.0
    load_timeout: Duration = 600.0

    def is_folder(self, version: VersionSection) -> bool:
        """Return whether requests for the version name a version directory of a Triton server."""
        return False

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield the faults of versions that this driver cannot move. Places are relative to the model."""
        yield from ()

    def claims(self, model: str) -> Iterator[tuple[Loc, str]]:
        """Yield what only one model may write, as a place under `traffic` and a name. `model` names this model."""
        yield from ()


def triton_folder(version: str) -> str | None:
    """Return the number of a version's directory on Triton, such as "2" for v2. None: it is no such version."""
    found = re.fullmatch(r"v([1-9][0-9]*)", version)
    return found[1] if found else None


def without_backends(versions: Mapping[str, VersionSection], why: str) -> Iterator[Fault]:
    """Yield a fault for each version without backends of its own."""
    for name, version in versions.items():
        if not version.backends:
            yield Fault(("versions", name), f"has no backends: {why}")
