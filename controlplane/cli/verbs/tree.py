"""Every verb of the program, in the groups of its help."""

from __future__ import annotations

from controlplane.cli.verbs.backups import BACKUPS
from controlplane.cli.verbs.dashboards import DASHBOARDS
from controlplane.cli.verbs.fleet import ALERTS, LOOK
from controlplane.cli.verbs.grammar import Group
from controlplane.cli.verbs.holding import HOLDING
from controlplane.cli.verbs.keys import KEYS
from controlplane.cli.verbs.local import ACCESS, FILES, RUN
from controlplane.cli.verbs.models import VERSIONS
from controlplane.cli.verbs.rollouts import QUARANTINE, STEER, SWITCH

GROUPS = (
    Group("Look", LOOK),
    Group("Switch versions", SWITCH),
    Group("Steer a rollout", STEER),
    Group("Versions in quarantine", QUARANTINE),
    Group("Files of versions", VERSIONS),
    Group("Alerts and messages", (*ALERTS, *HOLDING)),
    Group("Keys of the gateways' clients", KEYS),
    Group("Backups", BACKUPS),
    Group("Contexts and access", ACCESS),
    Group("Run", RUN),
    Group("Files", FILES),
    Group("Grafana", DASHBOARDS),
)
VERBS = {verb.words: verb for group in GROUPS for verb in group.verbs}


def subverbs(word: str) -> list[str]:
    """Return the second words of a group's verbs, such as `list` for `rollouts`. A verb of one word has none."""
    return [words.partition(" ")[2] for words in VERBS if words.startswith(word + " ")]


def first_words() -> list[str]:
    """Return every first word, in the order of the help."""
    return list(dict.fromkeys(words.partition(" ")[0] for words in VERBS))
