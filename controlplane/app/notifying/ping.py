"""A request to a service that raises the alarm when requests stay away."""

from __future__ import annotations

import aiohttp

from alerts.errors import DeliveryFailed
from controlplane.config.vocabulary import http_url


async def ping(url: str) -> None:
    """Send a POST request without a body, and without a wait of its own.

    Raises DeliveryFailed for an answer other than 2xx, a redirect included, and for an address that cannot be used. The
    address is a secret, and is in no message.
    """
    try:
        http_url(url)
    except ValueError as error:
        raise DeliveryFailed(f"the address is no address: {error}") from None
    try:
        async with aiohttp.ClientSession() as session, session.post(url, allow_redirects=False) as answer:
            if not 200 <= answer.status < 300:
                raise DeliveryFailed(f"the service answered {answer.status}")
    except (aiohttp.ClientError, OSError) as error:
        raise DeliveryFailed(f"the service cannot be reached: {type(error).__name__}") from None
