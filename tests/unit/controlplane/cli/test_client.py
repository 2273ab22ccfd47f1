"""How the CLI finds its control plane, what it sends where, and what it makes of every answer."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.client import ATTEMPTS, ApiClient, Place, announce, connect, locate
from controlplane.cli.errors import CliError, ServerUnreachable, VerdictNegative, WrongUsage
from controlplane.config.context import Context, Contexts, write_contexts


def ask(url: str, path: str, body: Any = None, *, token: str = "cp_1_secret", **query: Any) -> Any:
    with ApiClient(Place(url, token)) as made:
        return made.get(path, **query) if body is None else made.post(path, body)


def test_the_token_goes_along_and_absent_parameters_do_not(plane: Any) -> None:
    plane.replies["GET /cp/v1/alerts"] = (200, {"ok": True})
    assert ask(plane.url, "/cp/v1/alerts", state=None, limit=5, kind=["a", "b"]) == {"ok": True}
    (seen,) = plane.requests
    assert seen.query == {"limit": ["5"], "kind": ["a", "b"]}
    assert seen.headers["authorization"] == "Bearer cp_1_secret"


def test_an_address_may_have_a_path_before_ours(plane: Any) -> None:
    plane.replies["GET /llm/cp/v1/whoami"] = (200, 1)
    assert ask(plane.url + "/llm/", "/cp/v1/whoami") == 1


def test_a_token_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    for token in ("cp_1_sec\nret", "cp_1_sec ret", "cp_1_sec\x00ret", "cp_1_sécret"):
        with pytest.raises(WrongUsage) as refused:
            ApiClient(Place("http://cp.test", token))
        assert "ret" not in str(refused.value)


def test_no_token_is_shown_by_a_representation() -> None:
    assert "secret" not in repr(Place("http://a", "cp_1_secret")) + repr(Context("http://a", "cp_1_secret"))


def test_blanks_around_a_token_are_not_part_of_it(plane: Any) -> None:
    plane.replies["GET /"] = lambda request: (200, request.headers["authorization"])
    assert ask(plane.url, "/", token="cp_1_secret\r\n") == "Bearer cp_1_secret"


def test_a_post_is_repeated_with_its_own_key_when_the_connection_breaks(plane: Any) -> None:
    plane.replies["POST /cp/v1/rollouts"] = lambda _: (0, b"") if len(plane.requests) < ATTEMPTS else (202, {"id": "7"})
    assert ask(plane.url, "/cp/v1/rollouts", {"model": "m"}) == {"id": "7"}
    keys = [r.headers["idempotency-key"] for r in plane.requests]
    assert len(keys) == ATTEMPTS and len(set(keys)) == 1
    assert plane.requests[0].body == {"model": "m"}


def test_two_posts_have_two_keys(plane: Any) -> None:
    plane.replies["POST /x"] = (202, {})
    with ApiClient(Place(plane.url, "t")) as made:
        made.post("/x")
        made.post("/x")
    assert len({r.headers["idempotency-key"] for r in plane.requests}) == 2


@pytest.mark.parametrize(
    ("status", "body", "error", "message", "reasons"),
    [
        (404, {"detail": "no model nope"}, WrongUsage, "no model nope", ()),
        (422, {"status": "error", "error": "unknown function foo"}, WrongUsage, "unknown function foo", ()),
        (409, {"detail": "a rollout runs", "reasons": ["no. 7"]}, VerdictNegative, "a rollout runs", ("no. 7",)),
        (409, {"detail": "only one", "reasons": ["only one"]}, VerdictNegative, "only one", ()),
        (
            409,
            {"title": "Refused", "detail": "a; b", "reasons": ["a", "b"]},
            VerdictNegative,
            "Refused",
            ("a", "b"),
        ),
        (403, {"detail": "needs operator"}, VerdictNegative, "needs operator", ()),
        (503, {"detail": "database is away"}, ServerUnreachable, "database is away", ()),
        (500, b"<html>", VerdictNegative, "500 Internal Server Error", ()),
        (502, ["not", "a", "problem"], ServerUnreachable, "502 Bad Gateway", ()),
    ],
)
def test_a_refusal_becomes_its_own_error(
    plane: Any, status: int, body: object, error: type[CliError], message: str, reasons: tuple[str, ...]
) -> None:
    plane.replies["GET /x"] = (status, body)
    with pytest.raises(error) as caught:
        ask(plane.url, "/x")
    assert (str(caught.value), caught.value.reasons) == (message, reasons)


def test_a_token_that_is_not_accepted_says_where_and_how_to_get_another(plane: Any) -> None:
    plane.replies["GET /x"] = (401, {"detail": "expired"})
    with pytest.raises(VerdictNegative) as caught:
        ask(plane.url, "/x")
    assert str(caught.value) == f"the control plane at {plane.url} does not accept this token: expired"
    assert f"controlplane login --url {plane.url}" in caught.value.reasons[0]


def test_what_is_no_control_plane_is_said(plane: Any) -> None:
    plane.replies["GET /x"] = (200, b"<html>hello</html>")
    with pytest.raises(WrongUsage, match="is no control plane: its answer is not JSON"):
        ask(plane.url, "/x")


def test_exit_codes_are_the_documented_ones() -> None:
    assert (VerdictNegative.exit_code, WrongUsage.exit_code, ServerUnreachable.exit_code) == (1, 2, 3)


def test_nobody_there_says_where_and_what_to_do() -> None:
    with pytest.raises(ServerUnreachable, match=r"http://127\.0\.0\.1:1: Connection refused") as caught:
        ask("http://127.0.0.1:1", "/x", token="")
    assert "controlplane up" in caught.value.reasons[0]


def test_a_context_of_a_demo_that_has_ended_is_named(tmp_path: Path) -> None:
    place = Place("http://127.0.0.1:1", "t", "demo", str(tmp_path / "gone.json"))
    with pytest.raises(ServerUnreachable) as caught:
        ApiClient(place).get("/x")
    assert caught.value.reasons == (
        "context 'demo' belongs to a demo that has ended; `controlplane config get-contexts` lists the others",
    )


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://x", "127.0.0.1:80", "http://", "http://a b", "http://a:99999", "http://é", "http://a\n"]
)
def test_an_address_that_is_none_is_wrong_usage(url: str) -> None:
    with pytest.raises(WrongUsage, match="is not an address"):
        ApiClient(Place(url, ""))


def test_credentials_in_an_address_are_refused_without_being_shown() -> None:
    with pytest.raises(WrongUsage) as refused:
        ApiClient(Place("http://user:hunter2@a", ""))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_redirect_is_told_and_never_followed(plane: Any, status: int, method: str) -> None:
    plane.replies[f"{method.upper()} /x"] = (
        status,
        b"",
        {"Location": f"{plane.url.replace('127.0.0.1', 'localhost')}/y"},
    )
    with pytest.raises(WrongUsage, match="nothing was sent there"):
        ask(plane.url, "/x", {} if method == "post" else None)
    assert [r.path for r in plane.requests] == ["/x"]


@pytest.fixture
def two(home: Path) -> Path:
    """Two contexts, the first one current."""
    contexts = {
        "prod": Context("https://prod.example:443", "cp_prod"),
        "test": Context("http://127.0.0.1:1", "cp_test"),
    }
    write_contexts(home, Contexts("prod", contexts))
    return home


def found(url: str | None = None, context: str | None = None, **variables: str) -> tuple[str, str, str]:
    place = locate(url, context, {**os.environ, **variables})
    return place.url, place.token, place.context


PROD, TEST = ("https://prod.example:443", "cp_prod", "prod"), ("http://127.0.0.1:1", "cp_test", "test")


def test_the_current_context_is_used_unless_another_is_named(two: Path) -> None:
    assert found() == PROD
    assert found(context="test") == TEST
    assert found(CP_CONTEXT="test") == TEST
    assert found(context="prod", CP_CONTEXT="test") == PROD


def test_an_address_goes_before_contexts_and_the_option_before_the_variable(two: Path) -> None:
    assert found("http://option", CP_URL="http://env", CP_TOKEN="cp_env") == ("http://option", "cp_env", "")
    assert found(CP_URL="http://env", CP_TOKEN="cp_env", CP_CONTEXT="test") == ("http://env", "cp_env", "")
    assert found(CP_TOKEN="cp_env") == ("https://prod.example:443", "cp_env", "prod")


def test_an_address_that_a_context_has_brings_that_contexts_token(two: Path) -> None:
    assert found("http://127.0.0.1:1") == TEST
    assert found("http://127.0.0.1:1/") == ("http://127.0.0.1:1/", "cp_test", "test")
    assert found("https://prod.example/below") == ("https://prod.example/below", "cp_prod", "prod")
    assert found(CP_URL="http://127.0.0.1:1") == TEST


@pytest.mark.parametrize(
    "url", ["http://prod.example:443", "https://prod.example:444", "https://prod.example.evil", "http://127.0.0.1:2"]
)
def test_a_token_goes_to_its_own_scheme_host_and_port_only(two: Path, url: str) -> None:
    assert found(url) == (url, "", "")


def test_a_token_of_the_environment_goes_nowhere_that_an_option_names_by_context(two: Path) -> None:
    assert found(context="test", CP_TOKEN="cp_env", CP_URL="http://env") == TEST


def test_that_no_token_goes_along_is_said_with_the_cure(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connect("http://127.0.0.1:2", None, os.environ)
    assert capsys.readouterr().err == (
        "no token is sent to http://127.0.0.1:2: no context has this address and CP_TOKEN is not set; "
        "`controlplane login --url http://127.0.0.1:2` asks for one and keeps it\n"
    )
    connect("http://127.0.0.1:1", None, os.environ)
    assert capsys.readouterr().err == ""


def test_two_names_for_a_control_plane_are_refused(two: Path) -> None:
    with pytest.raises(WrongUsage, match="give one of them"):
        found("http://a", "prod")


def test_an_unknown_context_names_those_that_there_are(two: Path) -> None:
    with pytest.raises(WrongUsage, match=r"--context prd: there is no such context; did you mean prod\?") as caught:
        found(context="prd")
    assert caught.value.reasons == ("known contexts: prod, test",)


def test_without_any_address_it_says_how_to_give_one() -> None:
    with pytest.raises(WrongUsage, match="no control plane is named"):
        found()


def test_a_broken_context_file_is_named(home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("= broken")
    with pytest.raises(WrongUsage, match=r"config\.toml"):
        found()


def test_what_is_changed_is_named_first(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with connect(None, None, os.environ) as made:
        announce(made)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"fleet prod-eu at {current.url} (context prod)\n")


# --- TLS and proxies


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTPS server on localhost and the file of its certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject, *files],
        check=True,
        capture_output=True,
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"1")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_address[1]}", certificate
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_is_checked_and_an_own_authority_can_be_named(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = https
    with pytest.raises(ServerUnreachable, match=r"its certificate is not trusted here .*SSL_CERT_FILE"):
        ask(url, "/x")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask(url, "/x") == 1


def test_a_proxy_of_the_environment_is_used_and_no_proxy_goes_round_it(
    plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", plane.url)
    plane.replies["GET /x"] = (200, "by the proxy")
    assert ask("http://cp.invalid:8080", "/x") == "by the proxy"
    assert plane.requests[0].headers["host"] == "cp.invalid:8080"
    monkeypatch.setenv("no_proxy", "cp.invalid")
    with pytest.raises(ServerUnreachable):
        ask("http://cp.invalid:8080", "/x")
