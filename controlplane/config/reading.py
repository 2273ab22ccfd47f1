"""Reads data into sections, field by field, so that one wrong field hides no other fault."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, TypeVar, Union, cast

from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from controlplane.config.checking import Fault, Faults, Loc, faults_of
from controlplane.config.vocabulary import Model
from controlplane.config.wording import nearest, one_of, sentence, shown, unknown_field

Read = TypeVar("Read", bound=Model)
_PLACE = re.compile(r"(\w+)(?:\[\d+\]|\.\w+)*: (.*)", re.DOTALL)
_UNREAD: Any = object()
Reader = Callable[[Any, Loc, list[Fault]], Model]
"""Reads one section of a list or map: (data, place, faults so far)."""


class Choice(NamedTuple):
    """The kinds of a section, of which one field selects one."""

    tag: str
    """Name of the field that selects."""
    kinds: Mapping[str, type[Model]]
    """Kinds by the field's value."""
    common: type[Model]
    """Base of all kinds, with their common fields."""


def read_section(kind: type[Read], data: Any, loc: Loc = ()) -> tuple[Read, list[Fault]]:
    """Return a section without its unreadable fields, and all its faults."""
    faults: list[Fault] = []
    return _section(kind, data, loc, faults), faults


def merge_section(base: Read, data: Any, loc: Loc = ()) -> tuple[Read, list[Fault]]:
    """Return a section with the fields of `data` in place of its own, and all faults. Sections in it are merged too.

    Lists and maps are replaced as a whole. `base` has been read before and has no fault.
    """
    faults: list[Fault] = []
    return _merged(base, data, loc, faults), faults


def _merged(base: Read, data: Any, loc: Loc, faults: list[Fault]) -> Read:
    kind, before = type(base), len(faults)
    if not isinstance(data, dict):
        faults.append(Fault(loc, f"expected a map of fields, got {shown(data)}"))
        return base
    _strange(_keys(kind), data, loc, faults)
    values: dict[str, Any] = {}
    for key, name in _keys(kind).items():
        if key not in data:
            continue
        own = getattr(base, name)
        if isinstance(own, Model) and isinstance(data[key], dict):
            values[name] = _merged(own, data[key], (*loc, key), faults)
        else:
            values[name] = _value(kind, name, data[key], (*loc, key), faults)
    made = base.model_copy(update=values)
    if len(faults) == before:
        faults += [Fault((*loc, *fault.loc), fault.sentence) for fault in faults_of(made)]
    return made


def _section(kind: type[Read], data: Any, loc: Loc, faults: list[Fault]) -> Read:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        whole = error
    if not isinstance(data, dict):
        faults += _told(whole, loc, data)
        return _partly(kind, {})
    before = len(faults)
    values = _fields(kind, data, loc, faults)
    made = _partly(kind, values)
    if len(faults) == before:
        faults += _told(whole, loc, data)
    else:
        faults += [Fault((*loc, *fault.loc), fault.sentence) for fault in faults_of(made)]
    return made


def _chosen(choice: Choice, data: Any, loc: Loc, faults: list[Fault]) -> Model:
    """Return a section of the kind that its tag selects; with a wrong tag, only the common fields."""
    tag = data.get(choice.tag) if isinstance(data, dict) else None
    if isinstance(tag, str) and tag in choice.kinds:
        return _section(choice.kinds[tag], data, loc, faults)
    if not isinstance(data, dict):
        return _section(next(iter(choice.kinds.values())), data, loc, faults)
    meant = _strange([key for kind in choice.kinds.values() for key in _keys(kind)], data, loc, faults)
    if choice.tag in data:
        faults.append(Fault((*loc, choice.tag), one_of(tag, choice.kinds)))
    elif choice.tag not in meant:
        faults.append(Fault((*loc, choice.tag), "is required"))
    shared = {key: value for key, value in data.items() if key in _keys(choice.common)}
    return _partly(choice.common, _fields(choice.common, shared, loc, faults))


@cache
def _keys(kind: type[Model]) -> Mapping[str, str]:
    """Return the fields' names in the file, mapped to their names in Python: `for` -> `for_`."""
    return {field.alias or name: name for name, field in kind.model_fields.items()}


def _strange(known: Iterable[str], data: dict[Any, Any], loc: Loc, faults: list[Fault]) -> set[str]:
    """Append faults for unknown fields; return the absent fields that they were probably meant for."""
    keys = dict.fromkeys(known)
    meant: set[str] = set()
    for key in data:
        if not isinstance(key, str):
            faults.append(Fault((*loc, str(key)), f"expected a text as the field's name, got {shown(key)}"))
        elif key not in keys:
            faults.append(Fault((*loc, key), unknown_field(key, keys)))
            meant |= {name for name in keys if name not in data and nearest(key, [name])}
    return meant


def _fields(kind: type[Model], data: dict[Any, Any], loc: Loc, faults: list[Fault]) -> dict[str, Any]:
    """Return the values of the readable fields."""
    keys = _keys(kind)
    # A misspelt field hides the value of the field it was meant for, so that field is not reported as missing.
    meant = _strange(keys, data, loc, faults)
    values = {}
    for key, name in keys.items():
        field = kind.model_fields[name]
        if key in data:
            value = _value(kind, name, data[key], (*loc, key), faults)
            if value is not _UNREAD:
                values[name] = value
        elif field.is_required():
            if key not in meant:
                faults.append(Fault((*loc, key), "is required"))
        elif key not in meant:
            values[name] = field.get_default(call_default_factory=True)
    return values


def _value(kind: type[Model], name: str, value: Any, loc: Loc, faults: list[Fault]) -> Any:
    """Return a field's value, or _UNREAD. A list or map of sections keeps its faulty items."""
    try:
        return _adapter(kind, name).validate_python(value)
    except ValidationError as error:
        whole = error
    field = kind.model_fields[name]
    before, read = len(faults), _UNREAD
    if choice := _choice_in(field.annotation, field.discriminator):
        read = _sections(partial(_chosen, choice), field, value, loc, faults)
    elif section := _section_in(field.annotation):
        read = _sections(partial(_section, section), field, value, loc, faults)
    if len(faults) == before:
        faults += _told(whole, loc, value)
        read = _UNREAD
    return read


@cache
def _adapter(kind: type[Model], name: str) -> TypeAdapter[Any]:
    field = kind.model_fields[name]
    annotation: Any = field.annotation
    return TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)


def _sections(one: Reader, field: FieldInfo, value: Any, loc: Loc, faults: list[Fault]) -> Any:
    for validator in field.metadata:
        if isinstance(validator, BeforeValidator):
            try:
                value = validator.func(value)  # type: ignore[call-arg]  # validators of sections accept the value alone
            except ValueError:
                return _UNREAD  # the error of the whole value has the sentence
    shape = _shape(field.annotation)
    if shape is tuple and isinstance(value, list | tuple):
        return tuple(one(item, (*loc, number), faults) for number, item in enumerate(value))
    if shape is dict and isinstance(value, dict):
        _check_keys(field, value, loc, faults)
        return {str(key): one(item, (*loc, str(key)), faults) for key, item in value.items()}
    if shape is None and isinstance(value, dict):
        return one(value, loc, faults)
    return _UNREAD


def _check_keys(field: FieldInfo, value: dict[Any, Any], loc: Loc, faults: list[Fault]) -> None:
    key_type = next(typing.get_args(a)[0] for a in _alternatives(field.annotation) if typing.get_origin(a) is dict)
    for key in value:
        try:
            TypeAdapter(key_type).validate_python(key)
        except ValidationError as error:
            faults += _told(error, (*loc, str(key)), key)


def _told(error: ValidationError, loc: Loc, data: Any) -> list[Fault]:
    """Return pydantic's errors, or the faults of a section's own checks, as faults of the file."""
    found: dict[Loc, Fault] = {}
    details = error.errors(include_url=False)
    wrong = {detail["loc"][:-1] for detail in details if detail["loc"]}
    for detail in details:
        if detail["type"] == "too_short" and detail["loc"] in wrong:
            continue  # pydantic does not count wrong items, and these have their own faults
        for fault in _of_detail(detail, data):
            # Each alternative of a type reports an error. The first alternative is the usual one.
            found.setdefault((*fault.loc, fault.sentence) if detail["type"] == "value_error" else fault.loc, fault)
    return [Fault((*loc, *fault.loc), fault.sentence) for fault in found.values()]


def _of_detail(detail: ErrorDetails, data: Any) -> list[Fault]:
    place = _within(detail["loc"], data, missing=detail["type"] == "missing")
    own = detail.get("ctx", {}).get("error")
    if isinstance(own, Faults):
        return [Fault((*place, *fault.loc), fault.sentence) for fault in own.faults]
    if detail["type"] == "extra_forbidden":
        return [Fault(place, "unknown field")]
    words = sentence(detail)
    if isinstance(detail["input"], dict | Model) and (named := _PLACE.fullmatch(words)):
        # A validator of a whole section may name the field itself.
        return [Fault((*place, named[1]), named[2])]
    return [Fault(place, words)]


def _within(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> Loc:
    """Return the part of a place that exists in the data. pydantic adds the names of alternatives and keys."""
    reached: list[int | str] = []
    for part in loc:
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not in_list and not (isinstance(data, dict) and part in data):
            return (*reached, part) if missing and isinstance(part, str) else tuple(reached)
        data = data[part]
        reached.append(part)
    return tuple(reached)


def _partly(kind: type[Read], values: dict[str, Any]) -> Read:
    made = cast("Read", kind.model_construct())  # the plugin of the type checker forgets which section it is
    made.__dict__.clear()
    made.__dict__.update(values)
    return made


def _alternatives(annotation: Any) -> list[Any]:
    """Return the types inside `X | None` and `Annotated[X, …]`; for any other type, the type itself."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [a for argument in typing.get_args(annotation) for a in _alternatives(argument)]
    if origin is Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    return [annotation]


def _choice_in(annotation: Any, tag: object = None) -> Choice | None:
    """Return the kinds of sections that a tag selects; None without a tag. `tag` is the annotation's own tag."""
    if typing.get_origin(annotation) is Annotated:
        inner, *marks = typing.get_args(annotation)
        return _choice_in(inner, next((mark.discriminator for mark in marks if isinstance(mark, FieldInfo)), None))
    if isinstance(tag, str):
        kinds: dict[str, type[Model]] = {}
        for kind in typing.get_args(annotation):
            kinds |= dict.fromkeys(typing.get_args(kind.model_fields[tag].annotation), kind)
        # The kinds of one section have a common base, which holds the common fields.
        return Choice(tag, kinds, cast("type[Model]", next(iter(kinds.values())).__base__))
    found = (_choice_in(argument) for argument in typing.get_args(annotation))
    return next((choice for choice in found if choice), None)


def _shape(annotation: Any) -> type | None:
    """Return tuple for a list of sections, dict for a map of sections, None for a single section."""
    origins = {typing.get_origin(alternative) for alternative in _alternatives(annotation)}
    return tuple if tuple in origins else dict if dict in origins else None


def _section_in(annotation: Any) -> type[Model] | None:
    """Return the section inside `X | None`, `tuple[X, ...]` or `dict[str, X]`."""
    for alternative in _alternatives(annotation):
        if isinstance(alternative, type) and issubclass(alternative, BaseModel):
            return alternative if issubclass(alternative, Model) else None
        for argument in typing.get_args(alternative):
            if (found := _section_in(argument)) is not None:
                return found
    return None
