"""The CLI's context file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config.context import Context, Contexts, contexts_path, read_contexts, write_contexts
from controlplane.errors import ConfigError


def test_it_lies_where_the_xdg_specification_says() -> None:
    assert contexts_path({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/controlplane/config.toml")
    assert contexts_path({"HOME": "/h"}) == Path("/h/.config/controlplane/config.toml")


def test_an_absent_file_is_no_context(tmp_path: Path) -> None:
    assert read_contexts(tmp_path / "none.toml").active is None


def test_what_is_written_is_read_back_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "config.toml"
    contexts = Contexts("demo", {"prod": Context("https://cp", "t"), "demo": Context("http://127.0.0.1:1", "s", "/d")})
    write_contexts(path, contexts)
    assert read_contexts(path) == contexts
    assert read_contexts(path).active == Context("http://127.0.0.1:1", "s", "/d")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["config.toml"]


def test_a_token_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Context("http://h", "secret"))


BROKEN = ["x = [", "[contexts.a]\nurl = 5\n", '[contexts.a]\ntoken = "t"\n', "[contexts]\na = 1\n"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        read_contexts(path)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=10)


@given(name=names, url=names, token=names)
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, name: str, url: str, token: str) -> None:
    path = tmp_path_factory.mktemp("c") / "config.toml"
    contexts = Contexts(name, {name: Context(url, token)})
    write_contexts(path, contexts)
    assert read_contexts(path) == contexts
