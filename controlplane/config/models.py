"""`models:` of fleet.yaml: versions, their backends, and the drivers with their fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from collectors.engines import BACKENDS, Api
from controlplane.config.checking import Fault, Loc, check
from controlplane.config.engine_names import BackendEngine
from controlplane.config.gateway import Count, ModelGateway
from controlplane.config.remote import EngineUrl
from controlplane.config.verify import OF_OPENAI, Verify
from controlplane.config.vocabulary import (
    Access,
    Address,
    Duration,
    FilePath,
    HttpUrl,
    LabelName,
    Model,
    ModelName,
    Name,
    Text,
)
from controlplane.config.wording import not_one_of

_WHY_ONE_ENGINE = {
    "triton": "driver triton switches no other engine",
    "gateway": "no other server serves several versions; put it under versions:",
}
UNNAMED = f"is required: name the server, one of: {', '.join(BACKENDS)}"


class Backend(Access):
    """One server that serves a version."""

    url: EngineUrl
    metrics: HttpUrl | None = None
    engine: BackendEngine | None = None
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


class Traffic(Model):
    """Fields of every driver. A driver moves a model's traffic."""

    moves: ClassVar[str | None]
    """Kind of the servers that serve every version, under `traffic`. None: they may be of any kind."""
    model: ModelName | None = None
    """The engine's name of the model. Default: the fleet's name of it."""
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


class GatewayTraffic(Traffic):
    """Versions behind this product's gateway, which splits requests by weight."""

    moves = "triton"
    driver: Literal["gateway"]


class UnmovedTraffic(Traffic):
    """A model that is watched only. Something else moves its traffic."""

    moves = None
    driver: Literal["none"]


AnyTraffic = Annotated[TritonTraffic | GatewayTraffic | UnmovedTraffic, Field(discriminator="driver")]


class VersionSection(Model):
    """A version of a model. On Triton, `v2` is version directory 2 and needs no other field."""

    backends: tuple[Backend, ...] = ()
    model: ModelName | None = None
    """The name of the model on the backends of this version. Default: the model's name in the engine."""


def triton_folder(version: str) -> str | None:
    """Return the number of a version's directory on Triton, such as "2" for v2. None: it is no such version."""
    found = re.fullmatch(r"v([1-9][0-9]*)", version)
    return found[1] if found else None


def _is_unnamed(backend: Backend) -> bool:
    return backend.reads("engine") and backend.engine is None


class ModelSection(Model):
    """A model, under the name that clients request."""

    name: Name
    stable: Text
    traffic: AnyTraffic
    versions: dict[Name, VersionSection]
    verify: Verify | None = None
    """Default: the requests of the model's probe, if there is one."""
    gateway: ModelGateway = ModelGateway()

    def served_model(self, version: str) -> str:
        """Return the engines' name of the model in a version."""
        return self.versions[version].model or self.traffic.model or self.name

    @check
    def _version_names_are_of_its_servers(self) -> Iterator[Fault]:
        for name, version in self.versions.items():
            if version.model is not None and not version.backends:
                yield Fault(("versions", name, "model"), "names the model on backends: of this version, which has none")

    @check
    def _only_what_moves_is_verified(self) -> Iterator[Fault]:
        if self.verify is not None and isinstance(self.traffic, UnmovedTraffic):
            yield Fault(("verify",), "needs a driver that switches versions; driver none does not")

    def engine_apis(self) -> frozenset[Api]:
        """Return the APIs of the model's servers."""
        shared = [(backend, self.traffic.moves) for backend in self.traffic.backends]
        own = [(backend, None) for version in self.versions.values() for backend in version.backends]
        names = {backend.engine or moves for backend, moves in (*shared, *own)}
        return frozenset(api for name in names if name and (api := BACKENDS[name].api))

    @check
    def _verify_fits_the_engines(self) -> Iterator[Fault]:
        if self.verify is None or not isinstance(self.traffic, TritonTraffic | GatewayTraffic):
            return
        path, apis = self.verify.path, self.engine_apis()
        if isinstance(self.traffic, GatewayTraffic) and len(apis) > 1 and (self.verify.body or self.verify.prompt):
            sentence = "names one request, and the model's servers have two APIs (Triton's and OpenAI's)"
            yield Fault(("verify",), f"{sentence}: leave out body: and prompt:")
        elif path and path in OF_OPENAI and apis == {Api.TRITON}:
            yield Fault(("verify", "path"), f"{path} is a path of OpenAI's API; Triton has infer and generate_stream")
        elif path and path not in OF_OPENAI and apis == {Api.OPENAI}:
            yield Fault(("verify", "path"), f"{path} is a path of Triton; this model's servers have {OF_OPENAI[0]}")

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
                yield Fault(place, f"must be {moved}: {_WHY_ONE_ENGINE[self.traffic.driver]}")
            elif not moved and _is_unnamed(backend):
                yield Fault(place, UNNAMED)
        for name, version in self.versions.items():
            for number, backend in enumerate(version.backends):
                if _is_unnamed(backend):
                    yield Fault(("versions", name, "backends", number, "engine"), UNNAMED)

    @check
    def _triton_versions_are_folders(self) -> Iterator[Fault]:
        for name, version in self.versions.items():
            if self._is_on_triton(version) and triton_folder(name) is None:
                sentence = "on triton a version is v and the number of its folder, such as v2"
                yield Fault(("versions", name), sentence)

    def _is_on_triton(self, version: VersionSection) -> bool:
        """Return whether requests for the version name a folder of a Triton server."""
        match self.traffic:
            case TritonTraffic():
                return True
            case GatewayTraffic():
                return bool(self.traffic.backends) or any(b.engine == "triton" for b in version.backends)
        return False

    @check
    def _gateway_has_servers(self) -> Iterator[Fault]:
        if not isinstance(self.traffic, GatewayTraffic) or self.traffic.backends:
            return
        for name, version in self.versions.items():
            if not version.backends:
                sentence = "has no backends: driver gateway sends requests to the servers of a version"
                yield Fault(("versions", name), sentence)

    def backends(self) -> Iterator[tuple[Loc, Backend]]:
        """Yield (place, backend) for all servers of the model."""
        yield from ((("traffic", "backends", number), one) for number, one in enumerate(self.traffic.backends))
        for name, version in self.versions.items():
            yield from ((("versions", name, "backends", number), one) for number, one in enumerate(version.backends))

    @check
    def _mirror_is_a_version(self) -> Iterator[Fault]:
        mirror = self.gateway.mirror
        if mirror is not None and mirror.version not in self.versions:
            yield Fault(("gateway", "mirror", "version"), not_one_of(mirror.version, "versions", self.versions))
