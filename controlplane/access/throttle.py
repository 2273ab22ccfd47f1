"""Slows down who guesses at credentials. Per process and in memory: it guards log and CPU, not 256 bits."""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict, deque
from math import ceil
from typing import Generic, TypeVar

from controlplane.errors import Unauthenticated

LIMIT = 5
"""Failures of one account from one address within the window."""
ADDRESS_LIMIT = 60
"""Failures of one address within the window, whatever the accounts: ids are made up as easily as secrets."""
WINDOW_S = 60.0
MOST = 10_000
"""Of pairs, addresses and good credentials each, that are remembered."""
V6_SITE = 64
"""One host has a whole IPv6 network of this prefix to choose addresses from."""

Key = TypeVar("Key")


class Throttled(Unauthenticated):
    """Too many failed attempts. `retry_after_s` says when the next one is heard."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many failed sign-ins: try again in {ceil(retry_after_s)} s")
        self.retry_after_s = retry_after_s


class SignInThrottle:
    """Hears so many failures of an account from an address, and of an address in all, within a window.

    Nobody else is held up: an account's own user comes from another address, and a credential that was good before is
    always heard. An account is what the credential claims to be, "" where it claims nothing that could be one.
    """

    def __init__(
        self, limit: int = LIMIT, address_limit: int = ADDRESS_LIMIT, window_s: float = WINDOW_S, most: int = MOST
    ) -> None:
        self._pairs: _Failures[tuple[str, str]] = _Failures(limit, window_s, most)
        self._addresses: _Failures[str] = _Failures(address_limit, window_s, most)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._most = most

    def check(self, account: str, address: str, credential: str, now: float) -> None:
        """Raise Throttled when this client must wait. To be called before the credential is looked at."""
        if _digest(credential) in self._good:
            return
        site = site_of(address)
        wait_s = max(self._pairs.wait_s((account, site), now), self._addresses.wait_s(site, now))
        if wait_s > 0:
            raise Throttled(wait_s)

    def failed(self, account: str, address: str, now: float) -> None:
        """Count a failure. Those that failed longest ago are forgotten first, so memory is bounded."""
        site = site_of(address)
        self._pairs.add((account, site), now)
        self._addresses.add(site, now)

    def succeeded(self, account: str, address: str, credential: str) -> None:
        """Forget the account's failures at this address, and remember the credential: only its hash."""
        self._pairs.forget((account, site_of(address)))
        digest = _digest(credential)
        self._good[digest] = None
        self._good.move_to_end(digest)
        while len(self._good) > self._most:
            self._good.popitem(last=False)


class _Failures(Generic[Key]):
    """When each key failed last, at most `limit` times each."""

    def __init__(self, limit: int, window_s: float, most: int) -> None:
        self._limit, self._window_s, self._most = limit, window_s, most
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()

    def wait_s(self, key: Key, now: float) -> float:
        """Return the seconds until the key is heard again; 0.0 for at once."""
        times = self._times.get(key, ())
        # A failure of the future is of a clock that was set back since: it must not hold anybody up for longer.
        recent = [at for at in times if now - self._window_s < at <= now]
        return recent[0] + self._window_s - now if len(recent) >= self._limit else 0.0

    def add(self, key: Key, now: float) -> None:
        self._times.setdefault(key, deque(maxlen=self._limit)).append(now)
        self._times.move_to_end(key)
        while len(self._times) > self._most:
            self._times.popitem(last=False)

    def forget(self, key: Key) -> None:
        self._times.pop(key, None)


def site_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 that an IPv6 address is in."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), V6_SITE), strict=False))


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode(errors="replace")).digest()
