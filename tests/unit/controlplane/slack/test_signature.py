"""Slack's signature: its own example, every way to be wrong, and requests that are sent again."""

from __future__ import annotations

from functools import partial

import pytest

from alerts.errors import DeliveryFailed
from controlplane.errors import Unauthenticated
from controlplane.slack.signature import MOST, WINDOW_S, Signatures
from tests.fakes.slack_app import SECRET, signature_headers

NOW = 1_531_420_618.0
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
    b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
    b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629"
    b"121.803a0bc887a14d10d2c447fce8b6703c"
)
EXAMPLE = {
    "x-slack-request-timestamp": "1531420618",
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}
"""The request, secret and signature in Slack's documentation of signatures."""


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def accept(signatures: Signatures, headers: dict[str, str], body: bytes, now: float = NOW) -> None:
    signatures.check(signatures.stamp(headers, now), body, now)


def test_slacks_own_example_is_accepted_once() -> None:
    signatures = Signatures(lambda: SECRET)
    accept(signatures, EXAMPLE, BODY)
    with pytest.raises(Unauthenticated, match="received before"):
        accept(signatures, EXAMPLE, BODY, NOW + 299)
    with pytest.raises(Unauthenticated, match="differs by more than 300 s"):
        accept(signatures, EXAMPLE, BODY, NOW + 301)


@pytest.mark.parametrize("by", [-1e9, -301, 301, 1e9])
def test_a_request_of_another_time_is_refused_before_its_body_is_needed(by: float) -> None:
    signatures = Signatures(lambda: pytest.fail("the secret is not needed"))
    with pytest.raises(Unauthenticated, match="set the clock"):
        signatures.stamp(EXAMPLE, NOW + by)
    signatures.stamp(EXAMPLE, NOW + 300)
    signatures.stamp(EXAMPLE, NOW - 300)


@pytest.mark.parametrize(
    "changed",
    [
        {"x-slack-signature": ""},
        {"x-slack-signature": "v1=" + 64 * "0"},
        {"x-slack-signature": "v0=" + 64 * "A"},
        {"x-slack-request-timestamp": ""},
        {"x-slack-request-timestamp": "soon"},
        {"x-slack-request-timestamp": "-1531420618"},
        {"x-slack-request-timestamp": "1" * 400},
        {"x-slack-request-timestamp": "1531420618.0"},
        {"x-slack-request-timestamp": "١٥٣١٤٢٠٦١٨"},
    ],
)
def test_headers_of_another_form_are_no_signature(changed: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match="no signature of Slack"):
        Signatures(lambda: SECRET).stamp(EXAMPLE | changed, NOW)
    with pytest.raises(Unauthenticated, match="no signature of Slack"):
        Signatures(lambda: SECRET).stamp({}, NOW)


def test_body_timestamp_and_secret_are_all_signed() -> None:
    good = lower(signature_headers(b"payload=1", NOW))
    for body, headers, secret in (
        (b"payload=2", good, SECRET),
        (b"payload=1", good | {"x-slack-request-timestamp": str(int(NOW) + 1)}, SECRET),
        (b"payload=1", good, SECRET + "x"),
    ):
        with pytest.raises(Unauthenticated, match="signing secret"):
            accept(Signatures(partial(str, secret)), headers, body)
    accept(Signatures(lambda: SECRET), good, b"payload=1")


def test_a_rotated_secret_is_used_at_once_and_an_unreadable_one_accepts_nothing() -> None:
    secrets = ["old"]
    signatures = Signatures(lambda: secrets[-1])
    accept(signatures, lower(signature_headers(b"a", NOW, "old")), b"a")
    secrets.append("new")
    with pytest.raises(Unauthenticated):
        accept(signatures, lower(signature_headers(b"b", NOW, "old")), b"b")
    accept(signatures, lower(signature_headers(b"b", NOW, "new")), b"b")

    def gone() -> str:
        raise DeliveryFailed("slack: environment variable S is not set or empty")

    with pytest.raises(DeliveryFailed):
        accept(Signatures(gone), EXAMPLE, BODY)


def test_memory_of_signatures_is_bounded_and_outlasts_their_window() -> None:
    signatures = Signatures(lambda: SECRET)
    ahead = lower(signature_headers(b"x", NOW + WINDOW_S))
    accept(signatures, ahead, b"x")
    later = NOW + 2 * WINDOW_S
    accept(signatures, lower(signature_headers(b"y", later)), b"y", later)
    with pytest.raises(Unauthenticated, match="received before"):
        accept(signatures, ahead, b"x", later)
    for number in range(MOST + 5):
        body = str(number).encode()
        accept(signatures, lower(signature_headers(body, later)), body, later)
    assert len(signatures._seen) == MOST
