"""Requests through an HTTP proxy, over real sockets: what it is asked, its own refusals, and who is asked directly."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from collectors.clouds.client_credentials import ClientCredentials
from collectors.errors import ScrapeError, Unreachable
from collectors.http.fetch import HttpSource
from collectors.http.proxies import bypassed, way_to
from collectors.target import Auth, IssuedAuth, Proxy
from controlplane.app.rotas.fetching import fetch
from tests.fakes.asking import Asks, posted, remote
from tests.fakes.http_proxy import HttpProxy
from tests.fakes.oauth_issuer import CLIENT, SECRET, OAuthIssuer
from tests.patience import HANG_S
from tests.unit.collectors.http.test_fetch import answering, serving
from tests.unit.collectors.http.test_tls import made_by_openssl

BODY = b"up 1\n"


@pytest.fixture
async def proxy() -> AsyncIterator[HttpProxy]:
    async with HttpProxy() as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def no_proxy_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def scraped(url: str, auth: Auth) -> int:
    source = HttpSource(url, auth)
    try:
        return 200 if await source.read(HANG_S) == BODY else 0
    finally:
        await source.close()


@pytest.mark.parametrize("asks", [scraped, remote, posted])
async def test_a_server_without_tls_is_asked_for_by_its_whole_address(proxy: HttpProxy, asks: Asks) -> None:
    async with serving(answering(BODY)) as url:
        port = URL(url).port
        far = f"http://far.example:{port}/metrics?a=b"
        assert await asks(far, Auth(proxy=Proxy(proxy.url))) == 200
    method = "POST" if asks is posted else "GET"
    assert proxy.asked == [f"{method} {far}"]


@pytest.mark.parametrize("asks", [scraped, remote, posted])
async def test_a_server_with_tls_is_reached_by_a_tunnel_and_checked(
    proxy: HttpProxy, asks: Asks, tmp_path: Path
) -> None:
    cert, key = made_by_openssl(tmp_path, "-nodes", "-addext", "subjectAltName=DNS:far.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serving(answering(BODY), context) as url:
        far = f"https://far.example:{URL(url).port}/metrics"
        assert await asks(far, Auth(ca_file=str(cert), proxy=Proxy(proxy.url))) == 200
        with pytest.raises(Exception, match="certificate"):
            await asks(far, Auth(proxy=Proxy(proxy.url)))
    assert set(proxy.asked) == {f"CONNECT far.example:{URL(url).port}"}


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_a_password_gets_it_and_no_message_shows_it(proxy: HttpProxy, scheme: str) -> None:
    proxy.authorization = "Basic dTpzM2NyZXQ="
    async with serving(answering(BODY)) as url:
        shown = proxy.url.replace("//", "//u:s3cret@")
        if scheme == "http":
            assert await scraped(url, Auth(proxy=Proxy(shown))) == 200
        with pytest.raises(ScrapeError, match="407") as told:
            await scraped(url.replace("http:", f"{scheme}:"), Auth(proxy=Proxy(shown.replace("s3cret", "wr0ng"))))
    assert "wr0ng" not in str(told.value)
    if scheme == "https":
        assert str(told.value) == "the proxy answered 407; it wants a user and a password"


async def test_a_proxy_that_refuses_the_tunnel_or_is_not_there_is_named(proxy: HttpProxy) -> None:
    proxy.status = 403
    with pytest.raises(Unreachable, match=r"^the proxy answered 403$"):
        await scraped("https://far.example/metrics", Auth(proxy=Proxy(proxy.url)))
    with pytest.raises(Unreachable, match=r"^the proxy cannot be reached: connection refused$"):
        await scraped("https://far.example/metrics", Auth(proxy=Proxy("http://127.0.0.1:1")))


async def test_an_issuer_has_a_proxy_of_its_own(proxy: HttpProxy) -> None:
    async with OAuthIssuer() as issuer:
        secret = Auth(inline=SECRET, proxy=Proxy(proxy.url))
        far = f"http://idp.example:{URL(issuer.url).port}/token"
        auth = IssuedAuth(oauth2=ClientCredentials(far, CLIENT, secret))
        assert await remote(f"{issuer.url}/metrics", auth) == 200
    assert proxy.asked == [f"POST {far}"]


async def test_a_calendar_is_fetched_through_the_proxy(proxy: HttpProxy) -> None:
    async with serving(answering(b"BEGIN:VCALENDAR")) as url:
        far = f"http://calendar.example:{URL(url).port}/ical"
        assert (await fetch(far, proxy=Proxy(proxy.url))).text == "BEGIN:VCALENDAR"
    assert proxy.asked == [f"GET {far}"]


def test_the_environment_is_read_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, far = Proxy(from_environment=True), URL("https://far.example/")
    assert way_to(far, proxy) is None
    monkeypatch.setenv("https_proxy", "http://u:p@proxy.example:3128")
    assert way_to(far, proxy) == (URL("http://proxy.example:3128"), {"Proxy-Authorization": "Basic dTpw"})
    assert way_to(URL("http://far.example/"), proxy) is None
    monkeypatch.setenv("no_proxy", "other.example,.example")
    assert way_to(far, proxy) is None
    monkeypatch.setenv("no_proxy", "other.example")
    assert way_to(far, proxy) is not None
    assert way_to(far, None) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://capital.example:1")
    assert way_to(far, proxy) == (URL("http://capital.example:1"), {}), "as in Go"
    monkeypatch.delenv("HTTPS_PROXY")
    named, excepting = Proxy("http://p.example:3128"), Proxy("http://p.example:3128", ".svc")
    assert way_to(URL("https://127.0.0.1/"), named) is not None
    assert way_to(URL("https://127.0.0.1/"), excepting) is None
    for own in ("https://127.0.0.1/", "https://[::1]/", "https://localhost/"):
        assert way_to(URL(own), proxy) is None, "this host is asked directly"
    monkeypatch.setenv("https_proxy", "socks5://u:s3cret@proxy.example:1080")
    with pytest.raises(ScrapeError, match="the environment's https_proxy is no address") as told:
        way_to(far, proxy)
    assert "s3cret" not in str(told.value)
    monkeypatch.setenv("https_proxy", "proxy.example:8080")
    assert way_to(far, proxy) == (URL("http://proxy.example:8080"), {})


@pytest.mark.parametrize(
    ("no_proxy", "url", "directly"),
    [
        ("", "http://a.example/", False),
        ("*", "http://a.example/", True),
        ("a.example", "http://a.example/", True),
        ("a.example", "http://b.a.example/", True),
        ("a.example", "http://ba.example/", False),
        (".a.example", "http://a.example/", False),
        (".a.example", "http://b.a.example/", True),
        ("*.a.example", "http://b.a.example/", True),
        ("x, A.Example ,y", "http://a.example./", True),
        ("a.example:8080", "http://a.example/", False),
        ("a.example:8080", "http://a.example:8080/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.0.0.0/8", "http://a.example/", False),
        ("10.1.2.3", "http://10.1.2.3:9/", True),
        ("10.1.2.3:8", "http://10.1.2.3:9/", False),
        ("[::1]", "http://[::1]/", True),
        ("[fd00::1]:8000", "http://[fd00::1]:8000/", True),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("/,:,10.0.0.0/99,:80", "http://a.example/", False),
    ],
)
def test_what_a_list_of_exceptions_names(no_proxy: str, url: str, directly: bool) -> None:
    assert bypassed(URL(url), no_proxy) is directly
