"""A request to a service that raises the alarm when requests stay away."""

from __future__ import annotations

from alerts.errors import DeliveryFailed
from alerts.notify.http import HttpPoster
from controlplane.config.vocabulary import http_url


async def ping(url: str) -> None:
    """Send a POST request without a body.

    Raises DeliveryFailed for an answer other than 2xx, a redirect included, and for an address that cannot be used. The
    address is a secret: messages have its host at most.
    """
    try:
        http_url(url)
    except ValueError as error:
        raise DeliveryFailed(f"the address is no address: {error}") from None
    poster = HttpPoster("watchdog")
    try:
        poster.check(await poster.post(url, b""))
    finally:
        await poster.close()
