"""Answers of other servers in Prometheus's format: they are checked, and `data` is cut out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from alerts.interfaces import VectorSample
from collectors.samples import labels_of
from controlplane.metrics.promql.values import Matrix, MatrixSeries, QueryValue, Scalar, StringValue, Vector
from controlplane.metrics.remote.json_walk import JsonWalk

Shape = Literal["query", "list", "map"]
"""Shape of `data`: a query's result, an array, or an object."""

_ABOUT_THE_QUERY = ("PromQL info:", "PromQL warning:")
"""Prefixes of annotations of the query itself. They do not mean that data is missing."""


@dataclass
class RemoteAnswer:
    """One answer of the API."""

    status: str = ""
    error_type: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    """In Prometheus 3, infos about the query itself. Other servers may report missing data here."""
    partial: bool = False
    """Whether data is missing, as VictoriaMetrics's cluster reports it. Other servers only warn."""
    result_type: str = ""
    data: str = ""
    """`data` as JSON, cut to the limit."""
    cut: bool = False
    """Whether `data` was cut."""

    @property
    def incomplete(self) -> str:
        """The reason why data is missing, or "". Every annotation that is not about the query itself is a reason."""
        told = [w for w in (*self.warnings, *self.infos) if not w.startswith(_ABOUT_THE_QUERY)]
        return told[0] if told else "some of its storage did not answer" if self.partial else ""


def read_answer(text: str, shape: Shape, take: Callable[[Any], None] = lambda _: None, limit: int = 0) -> RemoteAnswer:
    """Check an answer to its end and return it. `limit` is the maximum number of elements in `data`. 0 means all.

    `take` gets each element of the result or of the list, or the whole object of a map. Raises ValueError when the text
    is not JSON, or has another shape.
    """
    walk, answer = JsonWalk(text), RemoteAnswer()
    seen = False
    for key in walk.members():
        match key:
            case "data" if walk.peek() != "n":
                _read_data(walk, answer, shape, take, limit)
                seen = True
            case "status" | "errorType" | "error":
                setattr(answer, {"errorType": "error_type"}.get(key, key), _text(walk.value(), key))
            case "warnings" | "infos":
                setattr(answer, key, getattr(answer, key) + _texts(walk.value(), key))
            case "isPartial":
                answer.partial = walk.value() is True
            case _:
                walk.value()
    walk.end()
    if answer.status not in ("success", "error"):
        raise ValueError("has no status")
    if answer.status == "success" and not seen:
        if shape == "query":
            raise ValueError("has no data")
        answer.data = "[]" if shape == "list" else "{}"
    return answer


def _read_data(walk: JsonWalk, answer: RemoteAnswer, shape: Shape, take: Callable[[Any], None], limit: int) -> None:
    if shape == "map":
        walk.peek()
        start = walk.at
        found = walk.value()
        if not isinstance(found, dict):
            raise ValueError("data is no object")
        take(found)
        answer.data = walk.text[start : walk.at]
    elif shape == "list":
        answer.data, _ = _read_array(walk, take, 0)
    else:
        result, cut = "", False
        for key in walk.members():
            if key == "result":
                result, cut = _read_array(walk, take, limit)
            elif key == "resultType":
                answer.result_type = _text(walk.value(), key)
            else:
                walk.value()
        if answer.result_type not in ("vector", "matrix", "scalar", "string") or not result:
            raise ValueError("data is no result")
        answer.data, answer.cut = f'{{"resultType":"{answer.result_type}","result":{result}}}', cut


def _read_array(walk: JsonWalk, take: Callable[[Any], None], limit: int) -> tuple[str, bool]:
    """Return the array as JSON, cut to its first `limit` elements (0: all), and whether it was cut."""
    if walk.peek() == "n":  # null: a nil slice of Go
        if walk.value() is not None:
            raise ValueError("expected an array")
        return "[]", False
    walk.peek()
    start, count, end = walk.at, 0, 0
    for _ in walk.elements():
        take(walk.value())
        count += 1
        if count == limit:
            end = walk.at
    if limit and count > limit:
        return walk.text[start:end] + "]", True
    return walk.text[start : walk.at], False


def typed(result_type: str, elements: list[Any]) -> QueryValue:
    """Return a result as a QueryValue. Raises ValueError when it has another shape, or has a native histogram."""
    try:
        match result_type:
            case "vector":
                samples = [VectorSample(labels_of(e["metric"]), _pair(e)[1]) for e in elements]
                return Vector(_pair(elements[0])[0] if elements else 0.0, samples)
            case "matrix":
                return Matrix([_series(e) for e in elements])
            case "scalar":
                return Scalar(float(elements[0]), _number(elements[1]))
            case _:
                return StringValue(float(elements[0]), _text(elements[1], "the string"))
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError("an element of the result has another shape") from error


def _pair(element: dict[str, Any]) -> tuple[float, float]:
    if "histogram" in element:
        raise ValueError("holds a native histogram, which is not supported here")
    at, text = element["value"]
    return float(at), _number(text)


def _series(element: dict[str, Any]) -> MatrixSeries:
    if "histograms" in element:
        raise ValueError("holds a native histogram, which is not supported here")
    points = element["values"]
    times = np.array([float(at) for at, _ in points], dtype=np.float64)
    return MatrixSeries(labels_of(element["metric"]), times, np.array([_number(v) for _, v in points], np.float64))


def _number(text: Any) -> float:
    if not isinstance(text, str) or "_" in text:
        raise ValueError("a value is no number in a string")
    return float(text)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is no text")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{what} is no list")
    return tuple(_text(one, what) for one in value or ())
