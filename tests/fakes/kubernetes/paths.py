"""What a path asks for."""

from typing import NamedTuple

from tests.fakes.kubernetes.errors import Asked, TextError, no_resource
from tests.fakes.kubernetes.kinds import KINDS, Kind, kind_of
from tests.fakes.kubernetes.store import Key


class Target(NamedTuple):
    """A collection (`name` is "") or an object, in a version of its kind."""

    kind: Kind
    version: str
    namespace: str
    name: str
    subresource: str
    watching: bool = False

    @property
    def key(self) -> Key:
        """The key of the object in the store."""
        return Key(self.kind.group, self.kind.plural, self.namespace, self.name)

    @property
    def asked(self) -> Asked:
        """The resource as RBAC sees it."""
        return Asked(self.kind.group, self.kind.plural, self.namespace, self.name, self.subresource)


def parse(path: str) -> Target:
    """Return the target of a resource path.

    Raises TextError 404 for a group that is not installed, ApiError 404 for a resource that its group does not have.
    """
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise TextError(404, "404 page not found\n")
    watching = rest[0] == "watch"
    rest = rest[1:] if watching else rest
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = kind_of(group, version, rest[0]) if rest else None
    if kind is None:
        if not any(known.group == group and version in known.versions for known in KINDS):
            raise TextError(404, "404 page not found\n")
        raise no_resource() if group in ("", "apps") else TextError(404, "404 page not found\n")
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if len(rest) > 3 or (subresource and subresource not in kind.subresources) or (namespace and not kind.namespaced):
        raise no_resource()
    if kind.plural == "namespaces":
        namespace = ""
    return Target(kind, version, namespace, name, subresource, watching)
