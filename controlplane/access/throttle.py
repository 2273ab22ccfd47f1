"""Throttling of sign-ins, per process and in memory. It protects log and CPU: 256 random bits need no protection."""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict, deque
from math import ceil
from typing import Generic, TypeVar

from controlplane.errors import Unauthenticated

LIMIT = 5
"""Maximum failures of one account from one address within the window. Chosen."""
ADDRESS_LIMIT = 60
"""Maximum failures of one address with any account within the window. Chosen: ids are invented as easily as secrets."""
WINDOW_S = 60.0
MOST = 10_000
"""Maximum number of pairs, of addresses and of good credentials in memory. Chosen."""
V6_SITE = 64
"""Prefix length of IPv6 networks that count as one address: a single host can use a whole /64."""

Key = TypeVar("Key")


class Throttled(Unauthenticated):
    """Too many failed attempts. The next attempt is checked after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many failed sign-ins: try again in {ceil(retry_after_s)} s")
        self.retry_after_s = retry_after_s


class SignInThrottle:
    """Limits the failures of an account from an address, and of an address with any account, within a window.

    Other users are not delayed: the owner of the account has another address, and a credential that was good before is
    always checked. An account is the id in the credential; "" for a malformed credential.
    """

    def __init__(
        self, limit: int = LIMIT, address_limit: int = ADDRESS_LIMIT, window_s: float = WINDOW_S, most: int = MOST
    ) -> None:
        self._pairs: _Failures[tuple[str, str]] = _Failures(limit, window_s, most)
        self._addresses: _Failures[str] = _Failures(address_limit, window_s, most)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._most = most

    def check(self, account: str, address: str, credential: str, now: float) -> None:
        """Raise Throttled when this client must wait. Call it before the credential is checked."""
        if _digest(credential) in self._good:
            return
        site = site_of(address)
        wait_s = max(self._pairs.wait_s((account, site), now), self._addresses.wait_s(site, now))
        if wait_s > 0:
            raise Throttled(wait_s)

    def failed(self, account: str, address: str, now: float) -> None:
        """Count a failure. The oldest failures are dropped first, so that memory is bounded."""
        site = site_of(address)
        self._pairs.add((account, site), now)
        self._addresses.add(site, now)

    def succeeded(self, account: str, address: str, credential: str) -> None:
        """Drop the account's failures from this address, and keep the hash of the credential as good."""
        self._pairs.forget((account, site_of(address)))
        digest = _digest(credential)
        self._good[digest] = None
        self._good.move_to_end(digest)
        while len(self._good) > self._most:
            self._good.popitem(last=False)


class _Failures(Generic[Key]):
    """The times of the last `limit` failures of each key."""

    def __init__(self, limit: int, window_s: float, most: int) -> None:
        self._limit, self._window_s, self._most = limit, window_s, most
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()

    def wait_s(self, key: Key, now: float) -> float:
        """Return the seconds until the key's next attempt is checked; 0.0 means now."""
        times = self._times.get(key, ())
        # A failure in the future means that the clock was set back since. It must not delay an attempt.
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
    """Return the unit that counts as one address: an IPv4 address, or the /64 network of an IPv6 address."""
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
