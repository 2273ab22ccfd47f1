"""Makes notifiers of the receivers in an `alertmanager.yml`.

Secrets may stand in that file, because it is the user's. They are kept apart from the sections' fields and never shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from pydantic import ValidationError

from alerts.errors import RuleError
from alerts.routing.config import KINDS as ALL_KINDS
from alerts.routing.config import read_alertmanager
from alerts.routing.tree import Routing
from alerts.texts.templates import OwnTexts, patterns_without_files, read_templates
from alerts.yaml_nodes import Place, read_text, read_yaml
from controlplane.config.checking import Faults
from controlplane.config.notes import Note
from controlplane.config.notifiers import NotifierSection
from controlplane.config.notifiers.from_alertmanager import KINDS, UNRESOLVED, Fields, Source, Taken, Unsupported
from controlplane.config.wording import sentence

__all__ = ["Note", "Receivers", "read_receivers"]

STAND_IN = "imported"
"""Name of a section while its fields are checked. Names of receivers may have any characters, names of ours not."""

_OF_KINDS = ("smtp_", "slack_", "pagerduty_", "opsgenie_", "http_config", "resolve_timeout")
"""Global fields that are taken over where a receiver needs them, and Alertmanager's own time for alerts without end."""


class Receivers(NamedTuple):
    """The receivers of an `alertmanager.yml`, and its routing."""

    routing: Routing
    sections: Mapping[str, tuple[NotifierSection, ...]]
    """Sections of each receiver, by its name. A receiver without any notifies nobody."""
    notes: tuple[Note, ...]
    """Everything that is not taken over, in the order of lines."""


def read_receivers(path: Path) -> Receivers:
    """Return the notifiers of the receivers in a file, with unique names: `team-x`, or `team-x/slack[1]`.

    Raises RuleError, with file and line, for a fault, and for a receiver of a route that cannot be taken over. A
    receiver that no route uses is a note then.
    """
    text, file = read_text(path, "an alertmanager.yml"), str(path)
    routing = read_alertmanager(text, file)
    used = {node.receiver for node in routing.root.walk()}
    fields = read_yaml(text, file).fields()
    templates = read_templates(fields.get("templates"), path.parent)
    source = Source(file, path.parent, Fields(fields.get("global"), "global"), templates)
    sections: dict[str, tuple[NotifierSection, ...]] = {}
    for item in fields["receivers"].items() if "receivers" in fields else ():
        name, configs = _configs(item)
        found: list[NotifierSection] = []
        for kind, number, place in configs:
            own = name if len(configs) == 1 else f"{name}/{kind}[{number}]"
            try:
                found.append(_section(source, (name, own), kind, place.within(f"{name}: {kind}_configs[{number}]")))
            except Unsupported as unsupported:
                if name in used:
                    raise unsupported.error from None
                source.note(place, f"{unsupported.error.reason}; no route uses the receiver")
        sections[name] = tuple(found)
    for item in patterns_without_files(fields.get("templates"), path.parent):
        where = f"it is looked for in {path.parent}" if not Path(item.text()).is_absolute() else "look at the path"
        source.note(item, f"templates: {item.text()} matches no file; {where}")
    for name, fault in {**templates.incomplete, **templates.unknown}.items():
        why = f"the template {name} cannot be executed: {fault.reason}; no route leads to a text that calls it"
        source.notes.append(Note(fault.file, fault.line or 1, why))
    if "tracing" in fields and not fields["tracing"].is_null:
        source.note(fields["tracing"], "tracing is not taken over")
    for field, place in source.shared.unread():
        if not field.startswith(_OF_KINDS):
            source.note(place, f"global.{field} is not taken over")
    return Receivers(routing, sections, tuple(sorted(dict.fromkeys(source.notes), key=lambda note: note.line)))


def _configs(item: Place) -> tuple[str, list[tuple[str, int, Place]]]:
    """Return a receiver's name, and (kind, number within the kind, place) of each of its entries."""
    fields = item.fields()
    found = []
    for kind in ALL_KINDS:
        if f"{kind}_configs" in fields:
            found += [(kind, number, place) for number, place in enumerate(fields[f"{kind}_configs"].items())]
    return fields["name"].text(), found


def _section(source: Source, names: tuple[str, str], kind: str, place: Place) -> NotifierSection:
    """Return the section of an entry. `names` are the receiver's and the notifier's."""
    if kind not in KINDS:
        supported = ", ".join(sorted(KINDS))
        raise Unsupported(place.error(f"receivers of kind {kind} are not supported; supported are {supported}"))
    fields, taken = Fields(place, place.path), Taken()
    section = KINDS[kind](source, fields, taken)
    taken.fields["send_resolved"] = fields.flag("send_resolved", kind not in UNRESOLVED)
    source.leftover(fields)
    type_ = section.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]  # a Literal with one value
    try:
        made = section.with_secrets({"type": type_, "name": STAND_IN, **taken.fields}, taken.secrets)
    except ValidationError as error:
        raise _fault(error, place) from None
    inline = made._inline
    made = made.model_copy(update={"name": names[1]})
    made._inline = inline
    made._texts = OwnTexts(source.templates, names[0], tuple(taken.texts)) if taken.texts else None
    return cast("NotifierSection", made)


def _fault(error: ValidationError, place: Place) -> RuleError:
    """Return the first fault of a section. It shows no value, which may be a secret."""
    detail = error.errors(include_url=False)[0]
    own = detail.get("ctx", {}).get("error")
    words = own.faults[0].sentence if isinstance(own, Faults) else str(own) if own else sentence(detail)
    where = ".".join(str(part) for part in detail["loc"])
    return place.error(f"{where}: {words}" if where else words)
