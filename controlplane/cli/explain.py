"""The verb `explain`: a field of fleet.yaml, with its type, default and purpose."""

from __future__ import annotations

from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import columns, emit, say
from controlplane.cli.verbs.grammar import hint
from controlplane.config.reference import Field, fields, plain_path


def explain(field: str | None, output: str) -> None:
    """Explain a field of fleet.yaml: its type, default and purpose. Raises WrongUsage for an unknown field."""
    known = fields()
    wanted = plain_path((field or "").strip(".")).lower()
    chosen = [f for f in known if f.plain.lower() == wanted] or _ending(known, wanted)
    if wanted and not chosen:
        raise WrongUsage(
            f"fleet.yaml has no field {field}{hint(wanted, [f.plain for f in known])}",
            ("`controlplane explain` lists the sections",),
        )
    below = [f for f in known if _is_below(f, wanted)] if len(chosen) <= 1 else []
    if wanted and len(chosen) == 1:
        below = [f for f in known if _is_below(f, chosen[0].plain.lower())]
    found = [*chosen, *below]
    emit([f._asdict() for f in found], output, lambda: _print(chosen, below))


def _ending(known: list[Field], wanted: str) -> list[Field]:
    """Return the fields that end so: `drain_timeout` finds `models.traffic.drain_timeout`."""
    return [f for f in known if wanted and f.plain.lower().endswith("." + wanted)]


def _is_below(field: Field, section: str) -> bool:
    parent, _, _ = field.plain.lower().rpartition(".")
    return parent == section


def _print(chosen: list[Field], below: list[Field]) -> None:
    for number, field in enumerate(chosen):
        if number:
            print()
        say(field.path)
        say(f"  type     {field.type}")
        say(f"  default  {field.default}")
        say(f"  {field.help[:1].upper()}{field.help[1:]}")
    if below:
        if chosen:
            print()
        rows = [[f.path, f.type, f.default, f.help] for f in below]
        columns(["FIELD", "TYPE", "DEFAULT", ""], rows, "no fields")
