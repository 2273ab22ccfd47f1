"""The faults of a receiver over HTTP, which every notifier over HTTP tells alike. Tests parametrize over FAULTS."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import Notifier
from tests.contract.notifiers.messages import FIRING
from tests.fakes.receiver import Receiver
from tests.patience import HANG_S


class Fault(NamedTuple):
    """One fault and how its error reads."""

    fault: str
    words: str
    permanent: bool = False
    retry_after: float | None = None


FAULTS = (
    Fault("hang", "no answer from 127.0.0.1 within 1 s"),
    Fault("reset", "connection"),
    Fault("lost", "connection closed before an answer"),
    Fault("500", "answered 500"),
    Fault("502::bad gateway", r"answered 502 \(bad gateway\)"),
    Fault("408", "answered 408"),
    Fault("425", "answered 425"),
    Fault("429:7", "answered 429, and asks to wait 7 s", retry_after=7.0),
    Fault("429:soon", "answered 429$"),
    Fault("429", "answered 429"),
    Fault("503:30", "answered 503, and asks to wait 30 s", retry_after=30.0),
    Fault("401::who are you", r"answered 401 \(who are you\); check the credentials", permanent=True),
    Fault("404", "answered 404; ", permanent=True),
    Fault("410", "answered 410; ", permanent=True),
    Fault("redirect", "answered 307, a redirect, which is not followed; set the final address", permanent=True),
)
"""Faults by the status or by the connection."""


def patience(fault: str) -> float:
    """Return the deadline of a notifier, in seconds: short only where the receiver hangs.

    Every other answer comes, and a busy machine must not take it for one that does not.
    """
    return 1.0 if fault == "hang" else HANG_S


async def fails(receiver: Receiver, notifier: Notifier, fault: Fault) -> None:
    """Check that a message fails as `fault` says, and that the next one arrives."""
    receiver.misbehave(fault.fault)
    with pytest.raises(DeliveryFailed, match=fault.words) as failed:
        await notifier.send(FIRING, None)
    assert (failed.value.permanent, failed.value.retry_after) == (fault.permanent, fault.retry_after)
    assert "secret" not in str(failed.value), "an address may be a secret"
    before = len(receiver.taken)
    await notifier.send(FIRING, None)
    assert len(receiver.taken) == before + 1
