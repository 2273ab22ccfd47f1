"""A rollout as a story: the sentences, steps, weights and verdicts of the API's answer, as lines for a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controlplane.cli.render import clock, columns, number, percent, say, tell
from controlplane.cli.table import UNKNOWN
from controlplane.telling import change, lasting

BAR = 24
"""Characters of a progress bar. Chosen: with the words beside it, it fits into 80 columns."""
_NOW = {"current": "now", "ahead": "", "stopped": "went back"}
"""Words for states of a step that differ from the API's."""


def title(view: dict[str, Any]) -> str:
    """Return the first line: id, kind, model, versions, strategy."""
    switch = f"{view['model']} {view['from'] or UNKNOWN} -> {view['to']}"
    return f"rollout {view['id']}: {view['kind']} {switch} ({view['strategy']})"


def phase(view: dict[str, Any]) -> str:
    """Return the phase; of a rollback whether it was requested, and of a success whether the version was tried."""
    if view["wished"]:
        return f"{view['phase']} (as asked)"
    return f"{view['phase']} (not tried)" if view["ok"] and view["verified"] is False else str(view["phase"])


def notes(view: dict[str, Any]) -> list[str]:
    """Return the notes that no event repeats."""
    told = {event["sentence"] for event in view["events"]}
    return [note for note in view["notes"] if note not in told]


def bar(fraction: float | None) -> str:
    """Return a progress bar such as `[######------]  50%`. An unknown fraction has no bar."""
    if fraction is None:
        return ""
    full = min(int(fraction * BAR), BAR)
    return f"[{'#' * full}{'-' * (BAR - full)}] {100 * fraction:3.0f}%"


def weights(view: dict[str, Any]) -> str:
    """Return the share of the requests that each version gets, such as `v2 25%, v1 75%`; "" when it is unknown."""
    shares = view.get("weights") or {}
    ours = [version for version in (view["to"], view["from"]) if version in shares]
    others = [version for version in shares if version not in ours]
    return ", ".join(f"{version} {percent(shares[version])}" for version in [*ours, *others])


def glance(view: dict[str, Any], *, brief: bool = False) -> list[str]:
    """Return the lines that change while a rollout runs: bar and time left, weights, waits, the last verdict.

    `brief` leaves out a wait that the last event says already.
    """
    progress = view.get("progress")
    if progress is None or view["finished"]:
        return []
    left = f"time left: {progress['left']}" if progress["left"] else ""
    lines = ["  ".join(filter(None, (bar(progress["fraction"]), left)))]
    if shares := weights(view):
        lines.append(f"requests: {shares}")
    if progress["waits_for"] and not (brief and progress["waits_for"] == view["sentence"]):
        lines.append(f"waits: {progress['waits_for']}")
    if view["waits_for"] == "engine" and progress["waits_until"]:
        lines.append(f"gives up at {clock(progress['waits_until'])}, unless the wait ends")
    if look := verdict(view):
        lines.append(f"last look: {in_one_line(look)}")
    return [line for line in lines if line]


def verdict(view: dict[str, Any]) -> dict[str, Any] | None:
    """Return the latest look that has a result, or None."""
    looks = [f for f in view.get("findings") or [] if f["kind"] == "look" and f["outcome"] is not None]
    return looks[-1] if looks else None


def in_one_line(finding: dict[str, Any]) -> str:
    """Return a finding's outcome and its first reason."""
    first = finding["reasons"][0] if finding["reasons"] else ""
    return f"{finding['outcome']}{f': {first}' if first else ''}"


def print_story(view: dict[str, Any]) -> None:
    """Print a whole rollout: what it is, where it stands, its steps, its verdicts and its history."""
    say(title(view))
    say(f"{phase(view)}, asked for by {view['created_by']} at {clock(view['created_at'])}")
    told = view["events"][-1]["sentence"] if view["events"] else ""
    if told != view["sentence"] and not view.get("aftermath"):  # cause and consequence are the sentence in parts
        tell("", view["sentence"])
    if view["verified"] is not None:
        tell(f"{'verified' if view['verified'] else 'loaded, not tried'}: ", view["evidence"])
    for note in notes(view):
        tell("note: ", note)
    for line in glance(view):
        say(line)
    if after := view.get("aftermath"):
        for name in ("cause", "consequence", "next"):
            tell(f"{'next step' if name == 'next' else name}: ", after[name])
    progress = view.get("progress")
    if progress is not None:
        if progress["rollback"] is not None and not view["finished"]:
            tell("a rollback now: ", progress["rollback"]["words"])
        print()
        _print_steps(progress["steps"])
    for finding in view.get("findings") or []:
        print()
        print_finding(finding, view)
    print()
    rows = [[clock(e["at"]), e["phase"], e["sentence"]] for e in view["events"]]
    columns(["AT", "PHASE", ""], rows, "no events yet")


def _print_steps(steps: list[dict[str, Any]]) -> None:
    rows = [[str(s["number"]), _NOW.get(s["state"], s["state"]), _time(s), s["words"]] for s in steps]
    columns(["STEP", "STATE", "TIME", ""], rows, "no steps")


def _time(step: dict[str, Any]) -> str:
    """Return how long a step took, or how much of it is left."""
    if step["state"] == "current":
        left = step["left_seconds"]
        return "time left unknown" if left is None else f"{lasting(left)} left"
    if step["since"] and step["until"]:
        return lasting(_seconds(step["until"]) - _seconds(step["since"]))
    return ""


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).astimezone(UTC).timestamp()


def print_finding(finding: dict[str, Any], view: dict[str, Any]) -> None:
    """Print the result of one look, warm-up, golden set, hook or check, and the samples that it rests on."""
    lead = f"{finding['words']} at {clock(finding['at'] or finding['since'])}: "
    if finding["outcome"] is None:
        say(lead + "runs")
        return
    tell(lead, in_one_line(finding))
    for reason in finding["reasons"][1:]:
        tell("  ", reason)
    if finding["more_requests"] is not None:
        when = f", at the present rate at {clock(finding['enough_at'])}" if finding["enough_at"] else ""
        say(f"  {finding['more_requests']} more requests are needed{when}")
    if finding["samples"]:
        header = ["METRIC", view["to"], view["from"] or UNKNOWN, "CHANGE", "REQUESTS", "EVIDENCE", "VERDICT", ""]
        columns(header, [sample_row(sample, finding["reasons"]) for sample in finding["samples"]], "")


def sample_row(sample: dict[str, Any], reasons: list[str]) -> list[str]:
    """Return the cells of one metric: both values, the change, the requests behind them, the evidence, the verdict.

    Its sentence is left out where one of the finding's reasons says it already.
    """
    candidate, stable = sample["candidate"], sample["stable"]
    mine, other = sample["candidate_requests"], sample["stable_requests"]
    evidence = ""
    if sample["evidence"] is not None:
        limit = "" if sample["fails_at"] is None else f" of {number(sample['fails_at'])}"
        evidence = f"{number(sample['evidence'])}{limit}"
    verdict = sample["outcome"] + (" (dry run)" if sample["dry_run"] else "")
    return [
        sample["metric"],
        measured(candidate, sample["unit"]),
        measured(stable, sample["unit"]),
        change(candidate, stable, sample["unit"]) or UNKNOWN,
        f"{mine:.0f} / {other:.0f}",
        evidence,
        verdict,
        "" if any(sample["words"] in reason for reason in reasons) else sample["words"],
    ]


def measured(value: float | None, unit: str) -> str:
    """Return a sample's value in its unit, or `-`."""
    if unit == "ratio":
        return percent(value)
    if unit == "seconds" and value is not None and value < 1:
        return number(1000 * value, " ms")
    return number(value, " s" if unit == "seconds" else "")
