"""Redirects of a target: followed on the same server, remembered when permanent, and refused to other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from yarl import URL

from collectors.errors import Redirected, UnexpectedStatus
from collectors.http.fetch import HttpSource
from collectors.http.redirects import followed
from collectors.target import Auth
from tests.unit.collectors.http.test_fetch import Handler, serving


def site(pages: Mapping[str, str | tuple[int, str]], asked: list[str], heads: list[str] | None = None) -> Handler:
    """Serve each path's body, or its redirect (status, location). Others are not found. Notes what was asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            asked.append(path)
            if heads is not None:
                heads.append(head)
            match pages.get(path):
                case str(body):
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
                case (status, location):
                    place = location.replace("SELF", head.split("Host: ")[1].split("\r\n")[0])
                    writer.write(f"HTTP/1.1 {status} X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
                case _:
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    return handle


@pytest.mark.parametrize("location", ["http://SELF/metrics/", "/metrics/", "metrics/", "//SELF/metrics/#top"])
async def test_a_temporary_redirect_is_followed_at_each_scrape_with_the_credentials(
    location: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t")
    asked: list[str] = []
    heads: list[str] = []
    pages: dict[str, str | tuple[int, str]] = {"/metrics": (307, location), "/metrics/": "up 1\n"}
    async with serving(site(pages, asked, heads)) as url:
        source = HttpSource(url, Auth(credentials_file=str(tmp_path / "token")))
        assert [await source.read(5), await source.read(5)] == [b"up 1\n"] * 2
        await source.close()
    assert asked == ["/metrics", "/metrics/"] * 2
    assert all("Authorization: Bearer t\r\n" in head for head in heads)


async def test_a_permanent_redirect_is_remembered_until_its_place_fails() -> None:
    asked: list[str] = []
    pages: dict[str, str | tuple[int, str]] = {"/metrics": (308, "/v2?x=1"), "/v2?x=1": "a 1\n"}
    async with serving(site(pages, asked)) as url:
        source = HttpSource(url)
        for _ in range(3):
            assert await source.read(5) == b"a 1\n"
        assert asked == ["/metrics", "/v2?x=1", "/v2?x=1", "/v2?x=1"]
        asked.clear()
        del pages["/v2?x=1"]
        pages["/metrics"] = "b 1\n"
        with pytest.raises(UnexpectedStatus, match="404"):
            await source.read(5)
        assert await source.read(5) == b"b 1\n"
        assert asked == ["/v2?x=1", "/metrics"]
        await source.close()


async def test_a_chain_with_a_temporary_redirect_is_not_remembered_and_three_are_the_most() -> None:
    asked: list[str] = []
    pages: dict[str, str | tuple[int, str]] = {
        "/metrics": (301, "/1"),
        "/1": (302, "/2"),
        "/2": (301, "/3"),
        "/3": "a 1\n",
    }
    async with serving(site(pages, asked)) as url:
        source = HttpSource(url)
        assert [await source.read(5), await source.read(5)] == [b"a 1\n"] * 2
        assert asked == ["/metrics", "/1", "/2", "/3"] * 2
        pages["/3"] = (301, "/4")
        with pytest.raises(UnexpectedStatus, match="number 4; 3 are followed; set the final path"):
            await source.read(5)
        await source.close()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("https://h:8000/metrics?token=s", "to h:8000 over https, .*; set the address to h:8000 and scheme: https$"),
        ("http://h/metrics", "to h:80 over http, .* another server; set the address to h:80$"),
        ("//evil.example:8000/", "set the address to evil.example:8000$"),
        ("http://[::1]:8000/", r"set the address to \[::1\]:8000$"),
        ("ftp://h:8000/", "to a place that is no http address"),
        ("http://h:99999/", "to a place that is no address"),
    ],
)
def test_a_redirect_to_another_server_names_it_and_the_cure(location: str, message: str) -> None:
    redirect = Redirected("answered 302 Found, expected 200: a redirect", location, permanent=False)
    with pytest.raises(UnexpectedStatus, match=message):
        followed(URL("http://h:8000/metrics"), redirect, 1)


def test_the_user_part_of_a_place_is_not_taken() -> None:
    redirect = Redirected("a redirect", "http://me:pw@H:8000/m", permanent=True)
    assert str(followed(URL("http://h:8000/metrics"), redirect, 1)) == "http://h:8000/m"
