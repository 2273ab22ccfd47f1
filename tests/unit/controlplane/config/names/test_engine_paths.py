"""Paths that a model may list for the gateway: what is refused, and what a list stands for."""

from __future__ import annotations

import pytest

from controlplane.config.names import engine_paths


@pytest.mark.parametrize(
    "listed", ["/custom", "/custom/predict", "/custom/*", "/v1/responses/*", "/a.b/c-d_e~f", "/x:y"]
)
def test_a_path_may_be_listed(listed: str) -> None:
    assert engine_paths.fault(listed) == ""


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ("", "every path"),
        ("/*", "every path"),
        ("*", "expected a path"),
        ("custom", "expected a path"),
        ("/custom/", "expected a path"),
        ("/*/predict", "expected a path"),
        ("/a//b", "expected a path"),
        ("/a/../b", "expected a path"),
        ("/a/./b", "expected a path"),
        ("/a.", "expected a path"),
        ("/a%2fb", "expected a path"),
        ("/a;b", "expected a path"),
        ("/a b", "expected a path"),
        ("/a?b", "expected a path"),
        ("/a\\b", "expected a path"),
        ("/\u00fc", "expected a path"),
        ("/api/other", "is below"),
        ("/api/*", "is below"),
        ("/v2/*", "is below"),
        ("/v2", "is below"),
        ("/v1/models/*", "is below"),
        ("/sleep", "administers"),
        ("/sleep/*", "administers"),
        ("/v1/load_lora_adapter", "administers"),
        ("/Metrics", "administers"),
        ("/custom:shutdown", "administers"),
        ("/collective_rpc", "administers"),
        ("/get_server_info", "administers"),
    ],
)
def test_a_path_may_not_be_listed(listed: str, why: str) -> None:
    assert why in engine_paths.fault(listed)


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        ("/a", True),
        ("/a/b", False),
        ("/A", False),
        ("/ab", False),
        ("/b", False),
        ("/b/", True),
        ("/b/c", True),
        ("/b/c/d", True),
        ("/bc", False),
    ],
)
def test_a_list_stands_for_whole_segments(path: str, passes: bool) -> None:
    assert engine_paths.is_listed(path, ("/a", "/b/*")) == passes
