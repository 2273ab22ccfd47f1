"""Detection of drift: the engines serve another version than the model's stable one. Pure: it changes no engine."""

from __future__ import annotations

from controlplane.traffic.driver import TrafficObservation


def drift(stable: str, seen: TrafficObservation) -> str:
    """Return a sentence, or "" when every backend that answers serves `stable`. Unknown is not drift.

    Weights that were ordered and are not known to hold are reported too.
    """
    odd = [b for b in seen.backends if b.reachable and b.serving != stable]
    if not odd:
        return "; ".join(b.pending for b in seen.backends if b.pending)
    what = "; ".join(f"{b.url} serves {b.served}" for b in odd)
    return (
        f"The stable version of {seen.model} is {stable}, but {what}. No rollout of this control plane did that; "
        "it changes nothing by itself: promote the version that is wanted"
    )
