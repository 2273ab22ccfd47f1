"""The user's relabelling rules of a monitor's endpoint. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collectors.relabel import RelabelRule
from controlplane.config.reading import read_section
from controlplane.config.scraping.relabel import RelabelSection
from controlplane.config.wording import nearest
from controlplane.discovery.monitors.fields import Fields

_NAMES = {
    "sourceLabels": "source_labels",
    "separator": "separator",
    "targetLabel": "target_label",
    "regex": "regex",
    "modulus": "modulus",
    "replacement": "replacement",
    "action": "action",
}
"""Fields of a rule, and their names in Prometheus."""
_MEANT_EMPTY = ("separator", "replacement")
"""Fields whose empty text is a value. Another empty one is not given."""


def relabelings(endpoint: Fields, name: str) -> Iterator[RelabelRule]:
    """Yield the rules of a field of an endpoint. Raises FieldError for what Prometheus would refuse."""
    for each in endpoint.items(name):
        yield _rule(each)


def _rule(given: Fields) -> RelabelRule:
    content: dict[str, object] = {}
    for name in given.names():
        if name not in _NAMES:
            raise given.error(name, f"is unknown{nearest(name, _NAMES)}")
        if given.get(name) or name in _MEANT_EMPTY:
            content[_NAMES[name]] = given.get(name)
    section, faults = read_section(RelabelSection, content)
    for fault in faults:
        raise given.error(_camel(str(fault.loc[0])) if fault.loc else "", fault.sentence)
    return section.rule()


def _camel(name: str) -> str:
    return re.sub("_(.)", lambda found: found[1].upper(), name)
