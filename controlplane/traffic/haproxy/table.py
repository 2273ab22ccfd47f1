"""The servers of one HAProxy backend, read from `show stat` and `show servers state`. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.errors import Unavailable
from controlplane.traffic.words import told

BY_REQUESTS = frozenset({"roundrobin"})
"""Algorithms that count out requests: the split is exact to one request a server."""
BY_WEIGHT = BY_REQUESTS | {"leastconn", "random"}
"""Algorithms that take any weight at run time. `leastconn` counts open connections, `random` draws each request."""
_BACKEND, _SERVER = "1", "2"
"""Types of rows in `show stat`."""
_FORCED_DRAIN, _MAINTENANCE = 0x08 | 0x10, 0x01 | 0x02 | 0x04 | 0x20
"""Bits of srv_admin_state (HAProxy's management guide, `show servers state`)."""


@dataclass(frozen=True)
class Server:
    """One server of a backend, as HAProxy shows it."""

    name: str
    address: str
    """host:port, as HAProxy resolved it."""
    weight: int
    """The weight that is set now, 0 to 256."""
    initial: int
    """The weight in the configuration file that HAProxy read."""
    status: str
    """UP, DOWN, MAINT, DRAIN, NOLB, "no check", with a detail such as "DOWN 1/2"."""
    sessions: int
    """Open requests."""
    total: int
    """Requests since the start of the process."""
    backup: bool
    admin: int = 0
    """Bits of the administrative state."""

    @property
    def takes_new(self) -> bool:
        """Whether an operator lets new requests go there. Says nothing about health."""
        return not self.admin & (_MAINTENANCE | _FORCED_DRAIN)

    @property
    def is_down(self) -> bool:
        """Whether HAProxy's health check says that the server does not answer."""
        return self.status.startswith("DOWN")

    @property
    def effective(self) -> int:
        """The weight that counts: 0 in maintenance and while draining."""
        return self.weight if self.takes_new and not self.backup else 0


@dataclass(frozen=True)
class Table:
    """One backend of one HAProxy process."""

    algorithm: str
    """The backend's `balance`; "" where the socket's level does not show it."""
    servers: Mapping[str, Server]
    """By name."""

    @property
    def takes_weights(self) -> bool:
        """Whether any weight can be set at run time."""
        return self.algorithm in BY_WEIGHT


def table(stat: str, state: str, backend: str, address: str) -> Table:
    """Return a backend from the answers to `show stat` and `show servers state`.

    Raises Unavailable for an answer that cannot be read. `address` names the socket in the error.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(stat.removeprefix("# "))))
        of_backend = [row for row in rows if row["pxname"] == backend]
        states = _states(state)
        servers = {row["svname"]: _server(row, states) for row in of_backend if row["type"] == _SERVER}
        algorithm = next((row.get("algo") or "" for row in of_backend if row["type"] == _BACKEND), None)
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        fault = told(str(error))
        raise Unavailable(f"{address} answered `show stat` with something that is no table ({fault})") from error
    if algorithm is None:
        raise Unavailable(f"{address} answered `show stat` without backend {backend}")
    return Table(algorithm, servers)


class _State(NamedTuple):
    admin: int
    weight: int
    initial: int


def _states(state: str) -> Mapping[str, _State]:
    """Return the state of each server by its name. Raises ValueError and KeyError for another shape."""
    _, header, *rows = [line for line in state.splitlines() if line]  # the first line is the format's version
    names = header.removeprefix("# ").split()
    found: dict[str, _State] = {}
    for line in rows:
        row = dict(zip(names, line.split(), strict=False))
        numbers = (int(row[name]) for name in ("srv_admin_state", "srv_uweight", "srv_iweight"))
        found[row["srv_name"]] = _State(*numbers)
    return found


def _server(row: Mapping[str, str], states: Mapping[str, _State]) -> Server:
    state = states[row["svname"]]
    return Server(
        name=row["svname"],
        address=row["addr"],
        weight=state.weight,
        initial=state.initial,
        status=row["status"],
        sessions=int(row["scur"]),
        total=int(row["stot"]),
        backup=row["bck"] == "1",
        admin=state.admin,
    )
