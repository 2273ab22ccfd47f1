"""`models:` of fleet.yaml: versions, the backends that serve them, and each driver with its own fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from collectors.engines import BACKENDS
from controlplane.config.checking import Fault, check
from controlplane.config.engine_names import BackendEngine
from controlplane.config.verify import Verify
from controlplane.config.vocabulary import Access, Address, Duration, FilePath, HttpUrl, LabelName, Model, Name, Text
from controlplane.config.wording import not_one_of

UNNAMED = f"is required: name the server, one of: {', '.join(BACKENDS)}"


class Backend(Access):
    """One place that serves a version."""

    url: HttpUrl
    metrics: HttpUrl | None = None
    engine: BackendEngine | None = None
    """Which server this is; under `traffic` the driver knows, under `versions` it must be named."""
    repository: FilePath | None = None
    """triton only: the model repository, when it is local: configuration is then persisted to its config.pbtxt."""
    grpc: Address | None = None
    """triton only: where load orders go. Over HTTP a load holds up clients' connections until the model is loaded."""
    gpus: float = Field(default=1.0, ge=0)
    """GPUs this backend occupies: what the cost ledger counts."""
    labels: dict[LabelName, Text] = Field(default={})

    @check
    def _grpc_is_plain(self) -> Iterator[Fault]:
        if self.grpc and (self.authorization or self.basic_auth or self.tls):
            yield Fault(("grpc",), "load orders go in plain text and without credentials; leave it out here")


class Traffic(Model):
    """How a model's traffic is moved: what every driver has."""

    moves: ClassVar[str | None]
    """The only kind of server whose traffic the driver moves; None: it moves none."""
    model: Text | None = None
    """What the engine calls the model; by default the fleet's name."""
    backends: tuple[Backend, ...] = ()
    drain_timeout: Duration = 300.0
    load_timeout: Duration = 600.0


class TritonTraffic(Traffic):
    """Versions of one model in Triton servers, switched by their repository API."""

    moves = "triton"
    driver: Literal["triton"]

    @check
    def _has_backends(self) -> Iterator[Fault]:
        if not self.backends:
            yield Fault((), "driver triton needs backends: [{url: ...}]")


class UnmovedTraffic(Traffic):
    """Watched, and moved by somebody else."""

    moves = None
    driver: Literal["none"]


AnyTraffic = Annotated[TritonTraffic | UnmovedTraffic, Field(discriminator="driver")]


class VersionSection(Model):
    """A release of a model. On Triton `v2` is version directory 2 and needs nothing more."""

    backends: tuple[Backend, ...] = ()


def _is_unnamed(backend: Backend) -> bool:
    return backend.reads("engine") and backend.engine is None


class ModelSection(Model):
    """What clients ask for by name."""

    name: Name
    stable: Text
    traffic: AnyTraffic
    versions: dict[Name, VersionSection]
    verify: Verify | None = None
    """By default the model's probe is asked, where there is one."""

    @check
    def _only_what_moves_is_verified(self) -> Iterator[Fault]:
        if self.verify is not None and isinstance(self.traffic, UnmovedTraffic):
            yield Fault(("verify",), "is for models that can be switched; traffic driver none moves nothing")

    @check
    def _stable_is_a_version(self) -> Iterator[Fault]:
        if self.stable not in self.versions:
            yield Fault(("stable",), not_one_of(self.stable, "versions", self.versions))

    @check
    def _servers_are_named(self) -> Iterator[Fault]:
        if not self.traffic.reads("driver"):
            return
        moved = self.traffic.moves
        for number, backend in enumerate(self.traffic.backends):
            place = ("traffic", "backends", number, "engine")
            if moved and backend.reads("engine") and backend.engine not in (None, moved):
                yield Fault(place, f"is {moved} here: driver {self.traffic.driver} moves nothing else")
            elif not moved and _is_unnamed(backend):
                yield Fault(place, UNNAMED)
        for name, version in self.versions.items():
            for number, backend in enumerate(version.backends):
                if _is_unnamed(backend):
                    yield Fault(("versions", name, "backends", number, "engine"), UNNAMED)

    @check
    def _triton_versions_are_folders(self) -> Iterator[Fault]:
        if isinstance(self.traffic, TritonTraffic):
            for version in self.versions:
                if not re.fullmatch(r"v[1-9][0-9]*", version):
                    yield Fault(
                        ("versions", version), "on triton a version is v and the number of its folder, such as v2"
                    )
