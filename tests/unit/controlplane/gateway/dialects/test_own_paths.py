"""No spelling of a path leads past the list: whatever passes, each server reads as the path that was allowed."""

from __future__ import annotations

import re
from urllib.parse import unquote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import ModelPlace, RequestHead
from controlplane.gateway.wire.head import read_head
from tests.fakes.choosing_world import model
from tests.fakes.gateway_requests import DIALECTS

ALLOWED = ("/generate", "/predict", "/embed", "/infill", "/custom/predict")
"""What may pass in these tests: known paths, and what the model lists."""
MODEL = model("chat", paths=("/custom/predict", "/below/*"))
WORDS = (
    *("sleep", "wake_up", "load_lora_adapter", "metrics", "flush_cache", "shutdown", "pause", "collective_rpc"),
    *("generate", "custom", "predict", "below", "embed", "infill", "v2", "repository", "api", "v1", "x", "health"),
)
JOINTS = (
    *("/", "//", "/./", "/../", "/%2e%2e/", "%2f", "%252f", "/..;/", "\\", "%5c", "/x/..%2f", "/.%00/", "/%2e/"),
    *(
        ";",
        ";a=b/",
        "/;/",
        ".",
        "..",
        "./",
        "%20",
        "%09",
        "%00",
        "%0a",
        "?",
        "#",
        "%23",
        "%3f",
        "%3b",
        "\xad",
        "%c0%af",
    ),
)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """Return a target that spells some path in an odd way."""
    pieces = [draw(st.sampled_from(("/", "//", "/./", "/%2f", "")))]
    for _ in range(draw(st.integers(1, 4))):
        pieces += [draw(st.sampled_from(WORDS)), draw(st.sampled_from(JOINTS))]
    text = "".join(pieces[: draw(st.sampled_from((-1, len(pieces))))])
    at = draw(st.integers(0, len(text)))
    change = draw(st.sampled_from(("none", "upper", "encode", "twice")))
    if change == "upper":
        text = text[:at].upper() + text[at:]
    elif change != "none" and at < len(text) and text[at].isalpha():
        sign = "%25" if change == "twice" else "%"
        text = f"{text[:at]}{sign}{ord(text[at]):02x}{text[at + 1 :]}"
    return draw(st.sampled_from(("", "", "", "http://engine", "HTTP://user@engine:1"))) + text


def readings(path: str) -> set[str]:
    """Return the paths that servers may take a path for: some decode twice, drop parameters, or ignore case."""
    found = {path}
    for _ in range(3):
        found |= {unquote(one, "latin-1") for one in found}
    found |= {one.replace("\\", "/") for one in found}
    found |= {re.sub(r";[^/]*", "", one) for one in found}
    found |= {one.split("\0")[0].split("?")[0].split("#")[0] for one in found}
    found |= {re.sub(r"[. \t\n\xad]+(?=/|$)", "", one) for one in found}
    return found | {normal(one) for one in found}


def normal(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept)


def is_allowed(path: str) -> bool:
    return path in ALLOWED or path.startswith("/below/")


@settings(max_examples=2000, deadline=None)
@given(spellings())
@example("/custom/predict")
@example("/below/../sleep")
@example("/below/%2e%2e/sleep")
@example("/below/..;/sleep")
@example("/below/sleep")
@example("/below/x;/sleep")
@example("/CUSTOM/predict")
@example("/custom/predict.")
@example("http://engine/sleep")
@example("http://engine/below/%252e%252e/sleep")
def test_no_spelling_leads_past_the_list(target: str) -> None:
    fields = [(b"host", b"g"), (b"x-model", b"chat")]
    head = read_head(b"POST", target.encode("latin-1"), fields, "1.1", True)
    if isinstance(head, Refusal):
        return
    operation = DIALECTS.recognise(head)
    if isinstance(operation, Refusal) or operation.place is not ModelPlace.HEADER:
        return
    ask = DIALECTS.read(operation, head, b"")
    assert not isinstance(ask, Refusal)
    if MODEL.passes(ask.listed_path):
        sent = path_of(head)
        for path in readings(sent):
            assert is_allowed(path), (sent, path)
            assert not any(word in path.lower() for word in WORDS[:8]), (sent, path)


def path_of(head: RequestHead) -> str:
    return head.path.decode("latin-1")


def test_the_lists_paths_do_pass() -> None:
    for path, passes in (("/generate", True), ("/custom/predict", True), ("/below/x/y", True), ("/health", False)):
        head = read_head(b"POST", path.encode(), [(b"host", b"g"), (b"x-model", b"chat")], "1.1", True)
        assert isinstance(head, RequestHead)
        operation = DIALECTS.recognise(head)
        assert not isinstance(operation, Refusal)
        ask = DIALECTS.read(operation, head, b"")
        assert not isinstance(ask, Refusal)
        assert MODEL.passes(ask.listed_path) == passes, path
