"""What makes an object invalid: the rules of its schema, then those of its kind."""

import json
import re
from typing import Any

from tests.fakes.kubernetes.errors import Cause, invalid
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.schemas.schema import ANY, Schema

Json = dict[str, Any]

NOT_CHECKED = Cause.invalid(
    "<nil>",
    "null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_NAME_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def check(found: Json, before: Json | None, kind: Kind) -> None:
    """Raise ApiError 422 with every reason why the object is invalid."""
    name = found["metadata"].get("name", "")
    causes = _metadata(found["metadata"])
    if kind.custom:
        causes += _custom(found, kind)
    elif kind.kind in _RULES:
        causes += _RULES[kind.kind](found, before)
    if causes:
        raise invalid(kind.kind, kind.group, name, causes)


def _metadata(metadata: Json) -> list[Cause]:
    causes = []
    name = metadata.get("name", "")
    if not name:
        causes.append(Cause.required("metadata.name", "name or generateName is required"))
    elif not _NAME.fullmatch(name):
        causes.append(Cause.invalid("metadata.name", f'"{name}": {_NAME_RULE}'))
    return causes + _labels(metadata.get("labels", {}), "metadata.labels")


def _labels(labels: Json, field: str) -> list[Cause]:
    bad = [value for value in labels.values() if not isinstance(value, str) or not _LABEL.fullmatch(value)]
    return [Cause.invalid(field, f'"{value}": {_LABEL_RULE}') for value in bad]


def _custom(found: Json, kind: Kind) -> list[Cause]:
    typed: list[Cause] = []
    valued: list[Cause] = []
    for part in ("spec", "status"):
        if part in found:
            _walk(found[part], kind.whole.child(part), part, typed, valued)
    if typed:
        return [*typed, *valued, NOT_CHECKED]
    return valued or (_http_route(found) if kind.kind == "HTTPRoute" else [])


_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def _walk(value: Any, schema: Schema, at: str, typed: list[Cause], valued: list[Cause]) -> None:
    if schema.type and not _is(value, schema.type):
        typed.extend(_wrong_type(value, schema, at))
        return
    if isinstance(value, dict):
        typed.extend(Cause.required(f"{at}.{key}") for key in schema.required if key not in value)
        for key, child in value.items():
            _walk(child, schema.child(key), f"{at}.{key}", typed, valued)
    elif isinstance(value, list):
        if schema.most_items is not None and len(value) > schema.most_items:
            told = f"Too many: {len(value)}: must have at most {schema.most_items} items"
            typed.append(Cause("FieldValueTooMany", told, at))
        for index, item in enumerate(value):
            _walk(item, schema.values or ANY, f"{at}[{index}]", typed, valued)
    else:
        _scalar(value, schema, at, valued)


def _scalar(value: Any, schema: Schema, at: str, valued: list[Cause]) -> None:
    if schema.minimum is not None and value < schema.minimum:
        told = f"{value}: {at} in body should be greater than or equal to {schema.minimum}"
        valued.append(Cause.invalid(at, told))
    if schema.maximum is not None and value > schema.maximum:
        valued.append(Cause.invalid(at, f"{value}: {at} in body should be less than or equal to {schema.maximum}"))
    if schema.pattern and not re.search(schema.pattern, value):
        valued.append(Cause.invalid(at, f"\"{value}\": {at} in body should match '{schema.pattern}'"))
    if schema.enum and value not in schema.enum:
        listed = ", ".join(f'"{one}"' for one in schema.enum)
        valued.append(Cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {listed}', at))


def _is(value: Any, name: str) -> bool:
    if name == "integer" and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[name])


def _wrong_type(value: Any, schema: Schema, at: str) -> list[Cause]:
    if schema.type == "integer" and isinstance(value, float):
        told = f'Invalid value: "float64": {at} in body must be of type int32: "float64"'
        extra = f'"": Checked value must be of type integer with format int32 in {at}'
        return [Cause("FieldValueTypeInvalid", told, at), Cause.invalid("<nil>", extra)]
    kind = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}.get(
        type(value), "integer"
    )
    told = f'Invalid value: "{kind}": {at} in body must be of type {schema.type}: "{kind}"'
    return [Cause("FieldValueTypeInvalid", told, at)]


def _http_route(found: Json) -> list[Cause]:
    causes = []
    for at, rule in enumerate(found["spec"].get("rules", [])):
        for index, one in enumerate(rule.get("backendRefs", [])):
            if one["group"] == "" and one["kind"] == "Service" and "port" not in one:
                field = f"spec.rules[{at}].backendRefs[{index}]"
                causes.append(Cause.invalid(field, "Must have port for Service reference"))
        for index, one in enumerate(rule.get("filters", [])):
            if one.get("type") == "RequestRedirect" and "requestRedirect" not in one:
                told = "filter.requestRedirect must be specified for RequestRedirect filter.type"
                causes.append(Cause.invalid(f"spec.rules[{at}].filters[{index}]", told))
    return causes


def _service(found: Json, before: Json | None) -> list[Cause]:
    causes = []
    spec = found["spec"]
    if not spec.get("ports") and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(Cause.required("spec.ports"))
    for at, port in enumerate(spec.get("ports", [])):
        for name in ("port", "targetPort"):
            value = port.get(name)
            if isinstance(value, int) and not 1 <= value <= 65535:
                told = f"{value}: must be between 1 and 65535, inclusive"
                causes.append(Cause.invalid(f"spec.ports[{at}].{name}", told))
    return causes + _labels(spec.get("selector", {}), "spec.selector")


def _deployment(found: Json, before: Json | None) -> list[Cause]:
    causes = []
    spec = found["spec"]
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    wanted = spec.get("selector", {}).get("matchLabels", {})
    if spec.get("replicas", 0) < 0:
        causes.append(Cause.invalid("spec.replicas", f"{spec['replicas']}: must be greater than or equal to 0"))
    if any(labels.get(key) != value for key, value in wanted.items()):
        told = "`selector` does not match template `labels`"
        causes.append(Cause.invalid("spec.template.metadata.labels", f"{_map(labels)}: {told}"))
    if before is not None and before["spec"]["selector"] != spec.get("selector"):
        causes.append(Cause.invalid("spec.selector", f"{_map(spec.get('selector'))}: field is immutable"))
    return causes


def _lease(found: Json, before: Json | None) -> list[Cause]:
    seconds = found["spec"].get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        return [Cause.invalid("spec.leaseDurationSeconds", f"{seconds}: must be greater than 0")]
    return []


def _map(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


_RULES = {"Service": _service, "Deployment": _deployment, "Lease": _lease}
