"""The file that nginx includes: written for the weights of versions, and read back. Pure.

Without stickiness, one upstream holds the servers of all versions with weights. nginx counts requests out by them, and
its `zone` shares the count among all workers: 5 % is 5 of 100 requests. With a sticky key, `split_clients` hashes the
key: equal keys get the same version, to 0.01 %, and shares of requests are only as even as the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.proxies.shares import shares_of, whole_weights

MAX_WEIGHT = 10_000
"""Largest weight that is written. Chosen: nginx has no limit, and every share of whole per milles is exact."""
_SERVER = re.compile(r"^\s*server\s+(\S+?)(?:\s+weight=([0-9]+))?\s*;", re.MULTILINE)
_PART = re.compile(r"^\s*([0-9.]+%|\*)\s+(\S+?)\s*;", re.MULTILINE)
_BLOCK = re.compile(r"^\s*(upstream|split_clients)\s+([^{]+?)\s*\{(.*?)^\s*\}", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Include:
    """The subject of the file: the upstream's name, its options, and the servers of each version."""

    upstream: str
    servers: Mapping[str, Sequence[str]]
    """host:port of each server, by version."""
    sticky: str | None = None
    options: Sequence[str] = ()

    @property
    def format(self) -> str:
        """Name of the format of access logs."""
        return f"controlplane_{_word(self.upstream)}"

    @property
    def variable(self) -> str:
        """The variable that holds the upstream of a request, where a key is sticky."""
        return f"${_word(self.upstream)}_upstream"

    @property
    def pass_to(self) -> str:
        """The address for `proxy_pass`."""
        return f"http://{self.variable if self.sticky else self.upstream}"

    def text(self, weights: Mapping[str, float]) -> str:
        """Return the file for these shares of versions. Raises EngineRefused for a share that cannot be set."""
        if missing := [version for version in weights if not self.servers.get(version)]:
            raise EngineRefused(f"{missing[0]} has no server for nginx's upstream {self.upstream}")
        shown = ", ".join(f"{version} {100 * share:g}%" for version, share in weights.items())
        head = [
            f"# {shown}. Written by the control plane, which replaces this file at every change of weights.",
            f"log_format {self.format} '$pid $upstream_addr';",
        ]
        body = self._split(weights) if self.sticky else self._weighted(weights)
        return "\n".join([*head, *body, ""])

    def read(self, text: str) -> dict[str, float]:
        """Return the share of each version that the file gives. Raises ValueError for a file of another shape."""
        versions = {address: version for version, own in self.servers.items() for address in own}
        blocks = {(kind, name): body for kind, name, body in _BLOCK.findall(text)}
        if self.sticky:
            return self._read_split(blocks)
        body = blocks.get(("upstream", self.upstream))
        if body is None:
            raise ValueError(f"it has no `upstream {self.upstream}`")
        found: dict[str, float] = {}
        for address, weight in _SERVER.findall(body):
            if address not in versions:
                raise ValueError(f"server {address} of upstream {self.upstream} belongs to no version in fleet.yaml")
            version = versions[address]
            found[version] = found.get(version, 0.0) + float(weight or 1)
        return shares_of(found)

    def _weighted(self, weights: Mapping[str, float]) -> list[str]:
        counts = {version: len(own) for version, own in self.servers.items()}
        each = whole_weights(weights, counts, MAX_WEIGHT).weights
        servers = [f"  server {a} weight={each[v]};" for v, own in self.servers.items() for a in own if each[v]]
        return [f"upstream {self.upstream} {{", *self._inner(self.upstream), *servers, "}"]

    def _split(self, weights: Mapping[str, float]) -> list[str]:
        lines: list[str] = []
        for version, own in self.servers.items():
            name = self._of(version)
            servers = [f"  server {address};" for address in own]
            lines += [f"upstream {name} {{", *self._inner(name), *servers, "}"] if own else []
        *parts, (rest, _) = sorted(weights.items(), key=lambda item: item[1])
        lines += [f"split_clients {self.sticky} {self.variable} {{"]
        for version, share in parts:
            percent = f"{100 * share:.2f}"
            if abs(float(percent) - 100 * share) > 0.05 or float(percent) == 0.0:
                raise EngineRefused(f"{version} cannot get {100 * share:g}%: split_clients takes steps of 0.01%")
            lines.append(f"  {percent}% {self._of(version)};")
        return [*lines, f"  * {self._of(rest)};", "}"]

    def _read_split(self, blocks: Mapping[tuple[str, str], str]) -> dict[str, float]:
        names = {self._of(version): version for version in self.servers}
        body = blocks.get(("split_clients", f"{self.sticky} {self.variable}"))
        if body is None:
            raise ValueError(f"it has no `split_clients {self.sticky} {self.variable}`")
        found: dict[str, float] = {}
        left = 100.0
        for part, name in _PART.findall(body):
            if name not in names:
                raise ValueError(f"its part {name} is no version in fleet.yaml")
            share = left if part == "*" else float(part.rstrip("%"))
            found[names[name]] = found.get(names[name], 0.0) + share
            left -= share
        return shares_of(found)

    def _inner(self, zone: str) -> list[str]:
        return [f"  zone {zone} 64k;", *(f"  {option};" for option in self.options)]

    def _of(self, version: str) -> str:
        return f"{self.upstream}_{version}"


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)
