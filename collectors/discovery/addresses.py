"""From an address with its labels to a target: scheme, path, parameters and times, as Prometheus takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from collectors.discovery.group import DiscoveryGroup, DroppedTarget
from collectors.durations import format_duration, parse_duration
from collectors.errors import DiscoveryError
from collectors.relabel import relabelled
from collectors.samples import labels_of
from collectors.target import Target

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ADDRESS = re.compile(r"(?:[^\s/:@?#\[\]]+|\[[0-9a-fA-F:.%a-z]+\])(?::(\d{1,5}))?")
_PARAMETER = "__param_"
"""Begins the name of a label that is a parameter of the URL."""
_POD = "__meta_kubernetes_pod_name"
"""Label of a pod's address. A pod without an IP has an empty one."""
_SAFE = "/%:@!$&()*+,;=~"
"""Characters that stay as written in a path (RFC 3986), and `%`, so that what is escaped is not escaped again."""


def check_label_names(labels: Mapping[str, str], where: str) -> None:
    """Raise DiscoveryError for a name that is no label's. `where` begins its message."""
    for name in labels:
        parameter = name.startswith(_PARAMETER)  # the rest is the name of a URL parameter, which may have any character
        if not parameter and not _LABEL_NAME.fullmatch(name):
            raise DiscoveryError(f"{where}: {name[:40]!r} is not a label name (letters, digits and _)")


Found = Target | DroppedTarget
"""Result of an address."""


def target_of(group: DiscoveryGroup, address: str, labels: Mapping[str, str], where: str) -> Found:
    """Return the target of an address with all its labels, after the group's relabelling.

    Raises DiscoveryError, whose message begins with `where`.
    """
    if not (group.relabel or group.of_prometheus):
        return _addressed(group, address, labels, where)
    discovered = _discovered(group, address, labels, where)
    found = relabelled(discovered, group.relabel)
    waits = not address and _POD in discovered
    if found is None or (waits and not found.get("__address__")):
        job, labels_before = group.job or discovered["job"], labels_of(discovered)
        return DroppedTarget(job, labels_before, group.relabel, group.words, group.last_resort)
    if group.relabel:
        where = f"{where}: {address[:80]!r} after relabel_configs"
    # A path that the rules have emptied is the root, and not the group's path.
    found.setdefault("__metrics_path__", "/")
    return replace(_addressed(group, found.get("__address__", ""), found, where), discovered=labels_of(discovered))


def _discovered(group: DiscoveryGroup, address: str, labels: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the labels that rules see: those of the address, and the group's settings where it has none."""
    interval_s = _seconds(labels, "__scrape_interval__", group.interval_s, where=where)
    return {
        "job": group.job or group.engine,
        "__scheme__": group.scheme,
        "__metrics_path__": group.path,
        "__scrape_interval__": format_duration(interval_s),
        "__scrape_timeout__": format_duration(min(group.timeout_s, interval_s)),
        **{f"{_PARAMETER}{name}": values[0] for name, values in group.params if values},
        **{name: value for name, value in labels.items() if value},
        "__address__": address,
    }


def _addressed(group: DiscoveryGroup, address: str, labels: Mapping[str, str], where: str) -> Target:
    match = _ADDRESS.fullmatch(address)
    if not match or (match[1] is None and not group.of_prometheus) or not 0 < int(match[1] or 1) < 65536:
        expected = "host:port or a host" if group.of_prometheus else "host:port (the port cannot be left out)"
        raise DiscoveryError(f"{where}: {address[:80]!r} is not {expected}")
    scheme = labels.get("__scheme__") or group.scheme
    if scheme not in ("http", "https"):
        raise DiscoveryError(f"{where}: scheme {scheme[:40]!r} is neither http nor https")
    path = labels.get("__metrics_path__") or group.path
    url = f"{scheme}://{address}{_path_and_query(path, labels, dict(group.params))}"
    seconds = partial(_seconds, labels, where=where)
    interval_s = seconds("__scrape_interval__", group.interval_s)
    # A target's own interval below the group's timeout shortens the timeout too, and is not refused.
    timeout_s = seconds("__scrape_timeout__", min(group.timeout_s, interval_s))
    if timeout_s > interval_s:
        raise DiscoveryError(f"{where}: scrape timeout {timeout_s:g}s is longer than the interval {interval_s:g}s")
    return resolved(group, url, labels, address, interval_s, timeout_s)


def _path_and_query(path: str, labels: Mapping[str, str], params: Mapping[str, tuple[str, ...]]) -> str:
    """Return the part of a URL after its address.

    A `__param_…` replaces the first of the group's values, and a parameter of the same name in the path.
    """
    path, _, query = path.partition("?")
    own: dict[str, Sequence[str]] = dict(params)
    for name, value in labels.items():
        if name.startswith(_PARAMETER):
            name = name.removeprefix(_PARAMETER)
            own[name] = (value, *params.get(name, ())[1:])
    if own:
        written = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in own]
        query = urlencode([*written, *((name, value) for name in sorted(own) for value in own[name])])
    text = quote("/" + path.removeprefix("/"), safe=_SAFE)
    return f"{text}?{quote(query, safe=_SAFE + '?')}" if query else text


def target_of_url(group: DiscoveryGroup, url: str) -> Target:
    """Return the target of one of a group's complete URLs."""
    return resolved(group, url, dict(group.labels), urlsplit(url).netloc.rpartition("@")[2] or url)


def resolved(
    group: DiscoveryGroup,
    url: str,
    labels: Mapping[str, str],
    address: str,
    interval_s: float | None = None,
    timeout_s: float | None = None,
) -> Target:
    """Return the target of a complete URL. `address` is its default instance; None stands for the group's time."""
    own = {name: value for name, value in labels.items() if not name.startswith("__")}
    return Target(
        engine=group.engine,
        url=url,
        job=own.pop("job", "") or group.job or group.engine,
        instance=own.pop("instance", "") or address,
        labels=labels_of(own),
        models=group.models,
        interval_s=group.interval_s if interval_s is None else interval_s,
        timeout_s=group.timeout_s if timeout_s is None else timeout_s,
        auth=group.auth,
        metric_relabel=group.metric_relabel,
        honor_labels=group.honor_labels,
        sample_limit=group.sample_limit,
    )


def _seconds(labels: Mapping[str, str], name: str, default: float, *, where: str) -> float:
    text = labels.get(name)
    if not text:
        return default
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise DiscoveryError(f"{where}: {name}: expected a duration such as 15s or 1m30s, got {text[:40]!r}")
    return seconds
