"""Where a redirect leads, and whether a scrape follows it: within the same scheme, host and port only.

Credentials are then sent to the server that they were configured for, and to no other.
"""

from __future__ import annotations

from yarl import URL

from collectors.errors import Redirected, UnexpectedStatus

MOST_HOPS = 3
"""Most redirects that one scrape follows. Chosen: a slash, a login's return and one more; a circle ends quickly."""
_MAX_SHOWN = 100


def followed(at: URL, redirect: Redirected, hops: int) -> URL:
    """Return the URL that `at` redirects to, as the scrape's redirect number `hops`.

    Raises UnexpectedStatus for another scheme, host or port, for an unusable place and for more than MOST_HOPS. The
    message names host and port only: the rest can hold a session or a token.
    """
    try:
        to = at.join(URL(redirect.location)).with_fragment(None)
        port = to.port
    except ValueError:
        raise UnexpectedStatus(f"{redirect} to a place that is no address; set the final address") from None
    if not to.host or not port or to.scheme not in ("http", "https"):
        raise UnexpectedStatus(f"{redirect} to a place that is no http address; set the final address")
    if (to.scheme, to.raw_host, port) != (at.scheme, at.raw_host, at.port):
        where = f"{to.host_subcomponent}"[:_MAX_SHOWN] + f":{port}"
        scheme = "" if to.scheme == at.scheme else f" and scheme: {to.scheme}"
        raise UnexpectedStatus(
            f"{redirect} to {where} over {to.scheme}, which is not followed because it is another server;"
            f" set the address to {where}{scheme}"
        )
    if hops > MOST_HOPS:
        raise UnexpectedStatus(f"{redirect}, the scrape's number {hops}; {MOST_HOPS} are followed; set the final path")
    return to.with_user(None)
