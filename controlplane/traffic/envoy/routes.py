"""Envoy's file of routes: the weights of clusters rewritten with every other character as it was, and read back. Pure.

The file is a DiscoveryResponse in YAML or JSON. Its `version_info` changes with the weights, so that Envoy's
`/config_dump` tells which file it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from collectors.yaml_text import BOM, SURROGATES, YamlError, compose
from controlplane.traffic.proxies.shares import shares_of, whole_numbers
from controlplane.traffic.words import told

WHOLE = 10_000
"""Sum of the weights that are written: steps of 0.01 %. Envoy divides by the sum (route_components.proto)."""


class UnfitRoutes(ValueError):
    """The file has no weights that could be rewritten. The message says why, and the cure."""


def with_weights(text: str, weights: Mapping[str, float]) -> str:
    """Return the file with these shares of clusters, by name, in every `weighted_clusters` that has all of them.

    Raises UnfitRoutes when there is none, or a cluster has no weight.
    """
    bare = text.removeprefix(BOM)
    return text[: len(text) - len(bare)] + _rewritten(bare, weights)


def _rewritten(text: str, weights: Mapping[str, float]) -> str:
    root = _parsed(text)
    edits: list[tuple[int, int, str]] = []
    numbers = whole_numbers(weights, WHOLE)
    for clusters in _split(root, weights):
        for name, node in clusters.items():
            edits.append((*_span(node), str(numbers.get(name, 0))))
    fresh = _edited(text, edits)
    if fresh == text:
        return text
    version = hashlib.sha256(fresh.encode()).hexdigest()[:16]
    stated = _entry(root, "version_info")
    if stated is None:
        raise UnfitRoutes('it has no version_info; add `version_info: "0"` at its top')
    whole = _edited(text, [*edits, (*_span(stated), f'"{version}"')])
    _check_rewritten(whole, weights, numbers, version)
    return whole


def _check_rewritten(text: str, weights: Mapping[str, float], numbers: Mapping[str, int], version: str) -> None:
    """Raise UnfitRoutes unless a rewritten file says what it should: an alias or a block has no place of its own."""
    unfit = UnfitRoutes(
        "its weights and version_info cannot be rewritten where they stand: write each as a plain number or text, "
        "without anchors, aliases and blocks"
    )
    try:
        root = _parsed(text)
        splits = _split(root, weights)
    except UnfitRoutes as error:
        raise unfit from error
    stated = _entry(root, "version_info")
    wrong = any(node.value != str(numbers.get(name, 0)) for split in splits for name, node in split.items())
    if wrong or not isinstance(stated, ScalarNode) or stated.value != version:
        raise unfit


def version_of(text: str) -> str:
    """Return the file's version_info. Raises UnfitRoutes."""
    node = _entry(_parsed(text), "version_info")
    if not isinstance(node, ScalarNode):
        raise UnfitRoutes('it has no version_info; add `version_info: "0"` at its top')
    return str(node.value)


def shares_in(route_config: Any, clusters: Mapping[str, str]) -> dict[str, float] | None:
    """Return the share of each version in a route configuration of `/config_dump`. None: it has no such clusters.

    `clusters` maps a cluster's name to its version. Where several routes differ, the first counts.
    """
    for found in _dumped(route_config):
        weights = {str(c.get("name")): int(c.get("weight", 0)) for c in found if isinstance(c, dict)}
        if set(clusters) <= set(weights):
            return shares_of({clusters[name]: weight for name, weight in weights.items() if name in clusters})
    return None


def _dumped(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, dict):
        split = value.get("weighted_clusters")
        if isinstance(split, dict) and isinstance(split.get("clusters"), list):
            yield split["clusters"]
        for inner in value.values():
            yield from _dumped(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _dumped(inner)


def _parsed(text: str) -> Node:
    # Two other escapes stand in for them, so that positions stay the same.
    text = SURROGATES.sub(r"\\u00e9\\u00e9", text)
    try:
        found = compose(text, most=1)
    except YamlError as error:
        raise UnfitRoutes(f"it is neither YAML nor JSON: {told(str(error))}") from error
    root = found[0] if found else None
    if not isinstance(root, MappingNode):
        raise UnfitRoutes("it is no DiscoveryResponse: expected a map with version_info and resources")
    return root


def _split(root: Node, weights: Mapping[str, float]) -> list[dict[str, Node]]:
    """Return the weights' nodes of every `weighted_clusters` that has all clusters with a share."""
    found = [_clusters(node) for node in _below(root, "weighted_clusters")]
    fit = [clusters for clusters in found if set(weights) <= set(clusters)]
    if not fit:
        names = ", ".join(weights)
        raise UnfitRoutes(f"no weighted_clusters of it has {names}; add them there, with `weight: 0` for a candidate")
    return fit


def _clusters(split: Node) -> dict[str, Node]:
    listed = _entry(split, "clusters")
    found: dict[str, Node] = {}
    for item in listed.value if isinstance(listed, SequenceNode) else ():
        name, weight = _entry(item, "name"), _entry(item, "weight")
        if isinstance(name, ScalarNode) and isinstance(weight, ScalarNode):
            found[str(name.value)] = weight
    return found


def _below(root: Node, key: str) -> Iterator[Node]:
    """Yield the values of a field anywhere, each once: a list may hold itself by an alias."""
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        inner: list[Node] = []
        if isinstance(node, MappingNode):
            yield from (value for name, value in node.value if name.value == key)
            inner = [value for _, value in node.value]
        elif isinstance(node, SequenceNode):
            inner = list(node.value)
        waiting += reversed(inner)


def _entry(node: Node, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, wanted in sorted(set(edits), reverse=True):
        text = text[:start] + wanted + text[end:]
    return text
