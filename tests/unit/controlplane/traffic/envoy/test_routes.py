from __future__ import annotations

import json

import pytest

from controlplane.traffic.envoy.routes import UnfitRoutes, shares_in, version_of, with_weights
from controlplane.traffic.proxies.shares import whole_numbers

FILE = """\
# ours
version_info: "7"   # changes with the weights
resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: llm
  virtual_hosts:
  - routes:
    - match: {prefix: /v1}
      route: {weighted_clusters: {clusters: [{name: chat_v1, weight: 100}, {name: chat_v2, weight: 0}]}}
    - match: {prefix: /other}
      route: {weighted_clusters: {clusters: [{name: a, weight: 3}, {name: chat_v1, weight: 4}]}}
"""


def test_only_the_weights_and_the_version_change() -> None:
    after = with_weights(FILE, {"chat_v1": 0.95, "chat_v2": 0.05})
    version = version_of(after)
    assert after == FILE.replace("weight: 100", "weight: 9500").replace("weight: 0}", "weight: 500}").replace(
        '"7"', f'"{version}"'
    )
    assert with_weights(after, {"chat_v1": 0.95, "chat_v2": 0.05}) == after
    assert version_of(with_weights(after, {"chat_v1": 1.0, "chat_v2": 0.0})) != version


def test_json_is_rewritten_as_well() -> None:
    clusters = [{"name": "a", "weight": 1}, {"name": "b", "weight": 0}]
    text = json.dumps({"version_info": "1", "resources": [{"weighted_clusters": {"clusters": clusters}}]})
    found = json.loads(with_weights(text, {"b": 1.0}))
    assert found["resources"][0]["weighted_clusters"]["clusters"] == [
        {"name": "a", "weight": 0},
        {"name": "b", "weight": 10000},
    ]


def test_a_byte_order_mark_and_characters_of_any_width_move_nothing() -> None:
    text = "\ufeff" + FILE.replace("# ours", "# unsere Gewichte für 🚀").replace("\n", "\r\n")
    after = with_weights(text, {"chat_v1": 0.95, "chat_v2": 0.05})
    assert after == text.replace("weight: 100", "weight: 9500").replace("weight: 0}", "weight: 500}").replace(
        '"7"', f'"{version_of(after)}"'
    )
    assert with_weights(after, {"chat_v1": 0.95, "chat_v2": 0.05}) == after


def test_an_emoji_in_json_is_two_escapes_and_stays() -> None:
    clusters = [{"name": "a", "weight": 1}, {"name": "b", "weight": 0}]
    text = json.dumps({"note": "🚀 é", "version_info": "1", "weighted_clusters": {"clusters": clusters}})
    assert "\\ud83d\\ude80" in text
    found = json.loads(with_weights(text, {"a": 0.5, "b": 0.5}))
    assert found["note"] == "🚀 é"
    assert [one["weight"] for one in found["weighted_clusters"]["clusters"]] == [5000, 5000]


@pytest.mark.parametrize(
    "text",
    [
        'version_info: "1"\nweighted_clusters: {clusters: [{name: a, weight: &w 50}, {name: b, weight: *w}]}\n',
        'version_info: "1"\nweighted_clusters:\n  clusters:\n  - {name: a, weight: 1}\n  - name: b\n    weight:\n',
        "version_info: |\n  1\nweighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 1}]}\n",
        'version_info: "1"\nweighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: &w 1}]}\nx: *w\n',
    ],
    ids=["alias", "empty", "block", "anchor"],
)
def test_a_weight_without_a_place_of_its_own_is_refused(text: str) -> None:
    with pytest.raises(UnfitRoutes, match=r"cannot be rewritten where they stand|neither YAML"):
        with_weights(text, {"a": 0.3, "b": 0.7})


def test_a_list_that_holds_itself_is_looked_through_once() -> None:
    with pytest.raises(UnfitRoutes, match="no weighted_clusters of it has a"):
        with_weights("version_info: '1'\nresources: &r [*r]\n", {"a": 1.0})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FILE.replace("version_info", "version"), "it has no version_info; add"),
        (FILE.replace("chat_v2", "chat_v3"), "no weighted_clusters of it has chat_v1, chat_v2; add them there"),
        ("a: [", "it is neither YAML nor JSON"),
        ("[]", "it is no DiscoveryResponse"),
    ],
)
def test_another_file_is_refused_with_the_cure(text: str, words: str) -> None:
    with pytest.raises(UnfitRoutes, match=words):
        with_weights(text, {"chat_v1": 0.5, "chat_v2": 0.5})


def test_shares_add_up_whatever_their_fractions() -> None:
    assert whole_numbers({"a": 1 / 3, "b": 2 / 3}, 10_000) == {"a": 3333, "b": 6667}
    assert sum(whole_numbers({"a": 0.33335, "b": 0.66665}, 10_000).values()) == 10_000


def test_shares_are_read_from_what_envoy_dumps() -> None:
    dumped = {"virtual_hosts": [{"routes": [{"route": {"weighted_clusters": {"clusters": [{"name": "x"}]}}}]}]}
    assert shares_in(dumped, {"x": "v1"}) == {}
    assert shares_in(
        {"weighted_clusters": {"clusters": [{"name": "x", "weight": 3}, {"name": "y", "weight": 1}]}},
        {"x": "v1", "y": "v2"},
    ) == {"v1": 0.75, "v2": 0.25}
    assert shares_in({"weighted_clusters": {"clusters": "odd"}}, {"x": "v1"}) is None
    assert shares_in(None, {"x": "v1"}) is None
