"""The verbs about the API keys of the gateways' clients. They use the control plane's HTTP API."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.cli.verbs.grammar import Operand, Option, Verb, whole
from controlplane.cli.verbs.options import CLOSE, LISTING

LARGEST = 2**53
NONE = "none"
"""Word that removes a limit."""
KEY = Operand("identifier", "ID", "The id that `keys list` prints.", offers="keys")


def usd(text: str) -> float:
    """Return an amount of US dollars. Raises ValueError."""
    plain = text.removeprefix("$")
    # float() also accepts inf, nan, blanks and underscores.
    if not (plain.isascii() and plain.replace(".", "", 1).isdigit() and float(plain) > 0):
        raise ValueError("expected US dollars above zero, such as 25 or 0.50")
    return float(plain)


def _or_none(read: Callable[[str], float]) -> Callable[[str], float | str]:
    def removing(text: str) -> float | str:
        return NONE if text == NONE else read(text)

    return removing


def limits(*, removable: bool) -> tuple[Option, ...]:
    """Return the options of all limits."""
    number: Callable[[str], float] = whole(1, LARGEST)
    kinds = (
        ("requests_per_minute", "Requests a minute", "N", number),
        ("tokens_per_minute", "Tokens a minute, of prompts and answers", "N", number),
        ("concurrent", "Open requests", "N", number),
        ("daily_tokens", "Tokens a day (UTC)", "N", number),
        ("monthly_tokens", "Tokens a calendar month (UTC)", "N", number),
        ("daily_usd", "US dollars a day (UTC)", "USD", usd),
        ("monthly_usd", "US dollars a calendar month (UTC)", "USD", usd),
    )
    end = f", or {NONE}." if removable else "."
    return tuple(
        Option(name, text + end, metavar, read=_or_none(read) if removable else read)
        for name, text, metavar, read in kinds
    )


def priority(text: str) -> int:
    """Return a priority. Raises ValueError."""
    try:
        return whole(0, 100)(text.removeprefix("-")) * (-1 if text.startswith("-") else 1)
    except ValueError:
        raise ValueError("expected a whole number from -100 to 100") from None


KEYS = (
    Verb(
        "keys list",
        "gateways.keys:keys_list",
        "List the API keys of the gateways' clients. Their secrets are not kept and cannot be shown.",
        options=(Option("tenant", "Only keys of this tenant.", "TENANT"), *LISTING),
        examples=(("keys list", ""), ("keys list --tenant search", "")),
    ),
    Verb(
        "keys show",
        "gateways.keys:keys_show",
        "Show one API key with its limits.",
        (KEY,),
        LISTING,
        examples=(("keys show 3f2a9c10ab54", ""),),
    ),
    Verb(
        "keys create",
        "gateways.keys:keys_create",
        "Create an API key for a client of the gateways and print it. It cannot be shown again.",
        options=(
            Option("tenant", "Tenant that the key belongs to.", "TENANT", required=True),
            Option("name", "Name of the key: its user or purpose.", "NAME", required=True),
            Option(
                "role",
                "user, or tester: may choose a version by x-version.",
                "ROLE",
                default="user",
                choices=("user", "tester"),
            ),
            Option("model", "Model that the key may ask; by default all.", "MODEL", many=True, offers="models"),
            Option("expires_in", "A duration such as 30d; by default never.", "DURATION"),
            Option(
                "priority",
                "From -100 to 100: higher is served first, below 0 is shed first.",
                "N",
                default=0,
                read=priority,
            ),
            *limits(removable=False),
            *LISTING,
        ),
        examples=(
            ("keys create --tenant search --name ci", "without limits of its own"),
            ("keys create --tenant search --name app --model chat --requests-per-minute 600 --daily-usd 25", ""),
            ("keys create --tenant ops --name canary --role tester --expires-in 7d", "may choose a version"),
        ),
        details="Limits of the tenant and of the model apply as well. Gateways know the key within a second.",
    ),
    Verb(
        "keys limits",
        "gateways.keys:keys_limits",
        "Change limits of an API key. A limit that is not named stays, and what was used stays used.",
        (KEY,),
        (*limits(removable=True), *LISTING),
        examples=(
            ("keys limits 3f2a9c10ab54 --tokens-per-minute 200000", ""),
            ("keys limits 3f2a9c10ab54 --daily-usd none --concurrent 8", "remove one limit, set another"),
        ),
    ),
    Verb(
        "keys revoke",
        "gateways.keys:keys_revoke",
        "Revoke an API key. Gateways refuse it within a second.",
        (KEY,),
        CLOSE,
        examples=(("keys revoke 3f2a9c10ab54", ""),),
    ),
)
