"""Verbs of the Grafana dashboards: files, and a running Grafana."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.cli.errors import ServerUnreachable, VerdictNegative, WrongUsage
from controlplane.cli.render import say, say_all, say_block
from dashboards.errors import DashboardRefused, GrafanaError, GrafanaUnreachable
from dashboards.generate import all_dashboards, drift, write_dashboards
from dashboards.grafana import Change, Fate, Grafana
from dashboards.settings import Settings

Refused = dict[str, list[str]]
"""Titles of dashboards that are left as they are, by the reason."""


def generate(out: Path, config: Path | None, set_: str, language: str, seen_at: str, check: bool) -> None:
    """Write the dashboards and the file by which Grafana provisions them; with `check`, only compare.

    Raises WrongUsage for a folder that cannot be written or read and for a wrong fleet.yaml. Raises VerdictNegative
    when `check` finds a difference.
    """
    settings = _settings(config, set_, language)
    if check and not out.is_dir():
        raise WrongUsage(f"{out}: there is no such folder; without --check the dashboards are written there")
    try:
        if not check:
            say_all(map(str, write_dashboards(out, settings, seen_at)))
            return
        found = drift(out, settings, seen_at)
    except OSError as error:
        place, done = error.filename or out, "read" if check else "written"
        raise WrongUsage(f"{place}: cannot be {done}: {error.strerror}") from error
    for difference in found.values():
        say_block(difference)
    if found:
        again = "controlplane dashboards generate with the same options, without --check, writes them"
        raise VerdictNegative(f"files that differ from what would be generated: {len(found)}; {again}", tuple(found))
    say(f"{out}: the dashboards are as they would be generated")


def diff(url: str, token_env: str, config: Path | None, set_: str, language: str, ca_file: Path | None) -> None:
    """Print how the dashboards in a Grafana differ. Raises VerdictNegative for differences, WrongUsage and others."""
    settings = _settings(config, set_, language)
    with _grafana(url, token_env, ca_file) as grafana:
        changes, refused = _changes(grafana, settings)
    for change in changes:
        if change.diff:
            say_block(change.diff)
    _check_refused(refused)
    if told := _summary(changes):
        raise VerdictNegative(f"{told}; `dashboards push` would do so")
    say("Grafana has all dashboards as they would be generated")


def push(
    url: str, token_env: str, config: Path | None, set_: str, language: str, ca_file: Path | None, dry_run: bool
) -> None:
    """Create or update the dashboards in a Grafana. Raises WrongUsage, VerdictNegative and ServerUnreachable."""
    settings = _settings(config, set_, language)
    with _grafana(url, token_env, ca_file) as grafana:
        changes, refused = _changes(grafana, settings)
        _check_refused(refused)
        if not _summary(changes):
            say("Grafana has all dashboards as they would be generated; nothing to do")
            return
        if not dry_run:
            grafana.make_folder(settings)
        for change in changes:
            if change.fate is Fate.SAME:
                continue
            if not dry_run:
                grafana.push(change)
            done = {"create": "created", "update": "updated"}[change.fate]
            lines = change.diff.count("\n") + 1
            say(f"{'would be ' * dry_run}{done}: {change.title} ({change.uid}), a diff of {lines} lines")


def _settings(config: Path | None, set_: str, language: str) -> Settings:
    """Return the settings of a fleet.yaml. Raises WrongUsage for a name of a set, and the errors of fleet.yaml."""
    from controlplane.app.rules import dashboard_settings

    try:
        return dashboard_settings(config, set_, language)
    except ValueError as error:
        raise WrongUsage(f"--set: {error}") from error


@contextmanager
def _grafana(url: str, token_env: str, ca_file: Path | None) -> Iterator[Grafana]:
    """Yield a Grafana. Raises WrongUsage for a wrong option, and each error of Grafana as an error of a verb."""
    token = os.environ.get(token_env, "").strip()
    if not token:
        raise WrongUsage(f"--token-env: the environment variable {token_env} is not set; it holds Grafana's token")
    if not all("!" <= c <= "~" for c in token):
        raise WrongUsage(f"--token-env: {token_env} holds characters that no token has, such as spaces or line ends")
    try:
        grafana = Grafana(url, token, str(ca_file) if ca_file else None)
    except GrafanaError as error:
        raise WrongUsage(str(error)) from error
    try:
        yield grafana
    except GrafanaUnreachable as error:
        raise ServerUnreachable(str(error)) from error
    except GrafanaError as error:
        raise VerdictNegative(str(error)) from error


def _changes(grafana: Grafana, settings: Settings) -> tuple[list[Change], Refused]:
    """Return what a push would do, and the dashboards in Grafana that it must not change."""
    changes: list[Change] = []
    refused: Refused = {}
    for board in all_dashboards(settings).values():
        try:
            changes.append(grafana.change(board, settings.folder_uid))
        except DashboardRefused as error:
            refused.setdefault(error.reason, []).append(error.title)
    return changes, refused


def _check_refused(refused: Refused) -> None:
    """Raise VerdictNegative with each reason once, and the dashboards that it is of."""
    told = []
    for reason, (first, *more) in refused.items():
        also = f". The same is true of {', '.join(more)}" if more else ""
        told.append(f"{first} {reason}{also}")
    if told:
        raise VerdictNegative("\n".join(told))


def _summary(changes: list[Change]) -> str:
    counts = {fate: sum(change.fate is fate for change in changes) for fate in (Fate.CREATE, Fate.UPDATE)}
    return ", ".join(f"dashboards to {fate}: {n}" for fate, n in counts.items() if n)
