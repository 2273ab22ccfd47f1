"""The servers and search list of resolv.conf, read as Prometheus reads them. Pure but for `read_resolv_conf`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors.errors import DiscoveryError

RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class ResolvConf:
    """Name servers, and the search list of names."""

    servers: tuple[str, ...] = ()
    """Addresses of name servers, in their order."""
    search: tuple[str, ...] = ()
    """Domains that a relative name may be in."""
    ndots: int = 1
    """Number of dots from which a name is tried as it is before the search list."""
    port: int = 53


def parsed(text: str) -> ResolvConf:
    """Return the content of a resolv.conf. Unknown lines and options are ignored."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["domain", *domains]:
                search = tuple(domains[:1])
            case ["search", *domains]:
                search = tuple(domains)
            case ["options", *options]:
                ndots = next((n for option in reversed(options) if (n := _ndots(option)) is not None), ndots)
    return ResolvConf(tuple(servers), search, ndots)


def _ndots(option: str) -> int | None:
    name, _, value = option.partition(":")
    if name != "ndots":
        return None
    return min(int(value), 15) if value.isascii() and value.isdecimal() and len(value) < 10 else 0


def names_of(conf: ResolvConf, name: str) -> Iterator[str]:
    """Yield the complete names, each with its last dot, that a name may stand for, in the order of the questions."""
    if name.endswith("."):
        yield name
        return
    # A name of as many labels as `ndots` has fewer dots than that.
    as_it_is_first = name.count(".") + 1 > conf.ndots
    if as_it_is_first:
        yield f"{name}."
    for domain in conf.search:
        yield f"{name}.{domain.strip('.')}." if domain.strip(".") else f"{name}."
    if not as_it_is_first:
        yield f"{name}."


def read_resolv_conf(path: Path = RESOLV_CONF) -> ResolvConf:
    """Return the content of a resolv.conf. Blocking. Raises DiscoveryError, which names the file."""
    try:
        with path.open("rb") as file:
            return parsed(file.read(_MAX_BYTES).decode(errors="replace"))
    except OSError as error:
        raise DiscoveryError(f"{path}: cannot be read: {error.strerror}") from error
