"""`models:` of fleet.yaml: a model with its versions and the driver that moves its traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from collectors.engines.kinds import BACKENDS, Api
from controlplane.config.checking import Fault, Loc, check
from controlplane.config.gateway import ModelGateway
from controlplane.config.rollout.files import NUMBER, REPOSITORY, FilesPattern, pattern_faults
from controlplane.config.rollout.section import RolloutSection
from controlplane.config.slos import SloSection, slo_faults
from controlplane.config.traffic.base import UNNAMED, Backend, VersionSection, triton_folder
from controlplane.config.traffic.union import AnyTraffic
from controlplane.config.verify import OF_OPENAI, Verify
from controlplane.config.vocabulary import Model, Name, Text
from controlplane.config.wording import not_one_of


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
    rollout: RolloutSection | None = None
    """Default: a promotion is blue-green, without gates."""
    gateway: ModelGateway = ModelGateway()
    files: Text | None = None
    """Pattern of the paths of the versions' files, or `repository`. Default: they are not known, and not checked."""
    slos: tuple[SloSection, ...] = ()

    def file_patterns(self) -> tuple[FilesPattern, ...]:
        """Return the patterns of the paths of the versions' files: several where backends have several repositories."""
        if self.files != REPOSITORY:
            return () if self.files is None else (FilesPattern(self.files),)
        name = self.traffic.model or self.name
        folders = dict.fromkeys(b.repository for b in self.traffic.backends if b.repository is not None)
        return tuple(FilesPattern(f"{folder / name}/{NUMBER}") for folder in folders)

    def file_places(self, version: str) -> tuple[Path, ...]:
        """Return the paths of a version's files. Each place holds the same files. Empty: they are not known."""
        section = self.versions.get(version)
        if section is not None and section.files is not None:
            return (section.files,)
        found = (pattern.path(version) for pattern in self.file_patterns())
        return tuple(path for path in found if path is not None)

    @check
    def _slos_differ(self) -> Iterator[Fault]:
        yield from slo_faults(self.slos)

    @check
    def _files_are_a_pattern(self) -> Iterator[Fault]:
        for sentence in () if self.files is None else pattern_faults(self.files):
            yield Fault(("files",), sentence)

    @check
    def _files_are_numbered(self) -> Iterator[Fault]:
        if self.files is None or NUMBER not in self.files or any(pattern_faults(self.files)):
            return
        for name, version in self.versions.items():
            if version.files is None and FilesPattern(self.files).path(name) is None:
                sentence = f"has no number for files: {self.files}; name it v1, v2 and so on, or set files: here"
                yield Fault(("versions", name), sentence)

    @check
    def _files_have_a_repository(self) -> Iterator[Fault]:
        if self.files == REPOSITORY and not any(b.reads("repository") and b.repository for b in self.traffic.backends):
            sentence = f"{REPOSITORY} needs a backend with repository: under traffic, which driver triton has"
            yield Fault(("files",), sentence)

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
        if self.verify is not None and not self.traffic.switches:
            yield Fault(("verify",), "needs a driver that switches versions; driver none does not")

    @check
    def _only_what_moves_is_rolled_out(self) -> Iterator[Fault]:
        if self.rollout is not None and not self.traffic.switches:
            yield Fault(("rollout",), "needs a driver that switches versions; driver none does not")

    def engine_apis(self) -> frozenset[Api]:
        """Return the APIs of the model's servers."""
        shared = [(backend, self.traffic.moves) for backend in self.traffic.backends]
        own = [(backend, None) for version in self.versions.values() for backend in version.backends]
        names = {backend.engine or moves for backend, moves in (*shared, *own)}
        return frozenset(api for name in names if name and (api := BACKENDS[name].api))

    @check
    def _verify_fits_the_engines(self) -> Iterator[Fault]:
        if self.verify is None or not self.traffic.reads("driver") or not self.traffic.switches:
            return
        path, apis = self.verify.path, self.engine_apis()
        if not self.traffic.one_engine and len(apis) > 1 and (self.verify.body or self.verify.prompt):
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
                yield Fault(place, f"must be {moved}: {self.traffic.why_moves}")
            elif not moved and _is_unnamed(backend):
                yield Fault(place, UNNAMED)
        for name, version in self.versions.items():
            for number, backend in enumerate(version.backends):
                if _is_unnamed(backend):
                    yield Fault(("versions", name, "backends", number, "engine"), UNNAMED)

    @check
    def _triton_versions_are_folders(self) -> Iterator[Fault]:
        for name, version in self.versions.items():
            if self.traffic.is_folder(version) and triton_folder(name) is None:
                sentence = "on triton a version is v and the number of its folder, such as v2"
                yield Fault(("versions", name), sentence)

    @check
    def _versions_fit_the_driver(self) -> Iterator[Fault]:
        yield from self.traffic.version_faults(self.versions)

    def backends(self) -> Iterator[tuple[Loc, Backend]]:
        """Yield (place, backend) for all servers of the model."""
        yield from ((("traffic", "backends", number), one) for number, one in enumerate(self.traffic.backends))
        for name, version in self.versions.items():
            yield from ((("versions", name, "backends", number), one) for number, one in enumerate(version.backends))

    def substitutes(self) -> Iterator[tuple[Loc, str]]:
        """Yield (field, model) for the models that answer in place of this one."""
        if self.reads("gateway"):
            yield from ((("fallbacks", at), name) for at, name in enumerate(self.gateway.fallbacks))
            if self.gateway.degrade_to is not None:
                yield ("degrade_to",), self.gateway.degrade_to

    def after(self) -> tuple[str, ...]:
        """Return the models that are rolled out before this one."""
        rollout = self.rollout if self.reads("rollout") else None
        return rollout.after if rollout is not None and rollout.reads("after") else ()

    @check
    def _mirror_is_a_version(self) -> Iterator[Fault]:
        mirror = self.gateway.mirror
        if mirror is not None and mirror.version not in self.versions:
            yield Fault(("gateway", "mirror", "version"), not_one_of(mirror.version, "versions", self.versions))


def circle(start: str, following: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a path from `start` back to `start`, or [] if there is none."""
    paths, seen = [[start]], {start}
    for path in paths:
        for name in following.get(path[-1], ()):
            if name == start:
                return [*path, name]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return []
