"""Files with secrets: a FIFO, a device or a folder is refused at once, wherever a secret is read from a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.clouds.aws.keys import KeyPlace
from collectors.errors import ScrapeError
from collectors.http.credentials import authorization
from collectors.regular_file import read_regular
from collectors.target import Auth


@pytest.fixture(params=["fifo", "device", "folder"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path at which no regular file is."""
    path = tmp_path / "secret"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "device":
        path = Path("/dev/zero")
    else:
        path.mkdir()
    return str(path)


def test_a_file_is_read_up_to_a_size_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "..data").write_bytes(b"token\n")
    (tmp_path / "token").symlink_to("..data")  # as Kubernetes mounts secrets
    assert read_regular(tmp_path / "token", 100) == b"token\n"
    assert read_regular(str(tmp_path / "token"), 3) == b"tok"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 1)


def test_what_is_no_file_is_refused_at_once(odd: str) -> None:
    with pytest.raises(OSError, match=r"it is no regular file|Is a directory"):
        read_regular(odd, 10)


def test_every_secret_in_a_file_is_read_so(odd: str) -> None:
    with pytest.raises(ScrapeError, match=f"cannot read the credentials file {odd}: "):
        authorization(Auth(credentials_file=odd))
    with pytest.raises(ScrapeError, match=f"cannot read the credentials file {odd}: "):
        KeyPlace(odd).read()
