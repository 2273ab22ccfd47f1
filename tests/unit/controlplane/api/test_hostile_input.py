"""Input that nobody means well with: always a refusal in words, never a fault of ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

BODIES: list[tuple[dict[str, str], bytes]] = [
    (JSON, b"{"),
    (JSON, b"\xff\xfe"),
    (JSON, b"[" * 100_000),
    (JSON, b'{"model": "chat", "version": NaN}'),
    (JSON, b'{"\\ud800": 1}'),
    (JSON, b'{"model": "\\ud800", "version": "v2"}'),
    (JSON, b'{"model": "chat\\u0000", "version": "v2"}'),
    (JSON, b'{"model": "chat", "version": "v2", "dry_run": 1e999}'),
    (JSON, b'{"model": "chat", "version": "v2"}\x00'),
    (JSON, b"1" * 10_000),
    (FORM, b"model=chat&version=v2"),
    ({"Content-Type": "text/plain"}, b'{"model": "chat", "version": "v2"}'),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nnonsense"),
    ({}, b'{"model": "chat", "version": "v2"}'),
]


@pytest.mark.parametrize(("headers", "body"), BODIES, ids=range(len(BODIES)))
async def test_a_hostile_body_is_a_bad_request(
    operator: httpx.AsyncClient, headers: dict[str, str], body: bytes
) -> None:
    answer = await operator.post("/cp/v1/rollouts", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await operator.get("/cp/v1/rollouts")).json() == {"items": []}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"\xff\xfe=%zz&query=%ff"),
        (FORM, b"&".join(b"a=1" for _ in range(2000))),
        (FORM, b"query=" + b"%00" * 100),
        (FORM, b"query=1&time=%ff"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nnonsense"),
        ({"Content-Type": "multipart/form-data"}, b"--x\r\n"),
        (
            {"Content-Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="query"; filename="a"\r\n\r\nup\r\n--x--\r\n',
        ),
    ],
    ids=range(7),
)
async def test_a_hostile_form_is_answered_as_prometheus_would(
    viewer: httpx.AsyncClient, headers: dict[str, str], body: bytes
) -> None:
    answer = await viewer.post("/api/v1/query", content=body, headers=headers)
    assert answer.status_code in (200, 400), answer.text
    assert answer.json()["status"] in ("success", "error")


@pytest.mark.parametrize(
    "path",
    [
        "/cp/v1/models/%00",
        "/cp/v1/models/%ff%fe",
        "/cp/v1/models/..%2f..%2fetc%2fpasswd",
        "/cp/v1/rollouts?limit=99999999999999999999",
        "/cp/v1/rollouts?limit=1e3",
        "/cp/v1/rollouts/" + "a" * 5000,
        "/cp/v1/alerts?limit=%ef%bc%91%00",
        "/api/v1/query_range?query=up&start=-1e15&end=1e15&step=1",
        "/api/v1/query_range?query=up&start=0&end=1&step=1e-300",
        "/api/v1/series?match[]=up&limit=%00",
        "/api/v1/series?match[]=%7B__name__=~%22(a%2B)%2B%24%22%7D&start=1e300",
    ],
)
async def test_a_hostile_path_is_refused(viewer: httpx.AsyncClient, path: str) -> None:
    answer = await viewer.get(path)
    assert answer.status_code in (400, 404), answer.text


@pytest.mark.parametrize("name", ["%00", "%ff", "a" * 257, "__name__%0a"])
async def test_a_strange_label_name_has_no_values(viewer: httpx.AsyncClient, name: str) -> None:
    answer = await viewer.get(f"/api/v1/label/{name}/values")
    assert answer.status_code in (200, 400)
    assert answer.json().get("data", []) == []


async def test_a_hostile_header_is_no_token(rig: Any) -> None:
    async with rig.client(None) as client:
        for value in (b"Bearer \xff\xfe", b"Bearer cp_00000000_" + b"\x80" * 43, b"bearer\tx", b"\xc3\xa9 x"):
            answer = await client.get("/cp/v1/whoami", headers={b"Authorization": value})
            assert answer.status_code == 401
        cookie = await client.get("/cp/v1/whoami", headers={b"Cookie": b"cp_session=\xff\xfe; cp_session"})
        assert cookie.status_code == 401
