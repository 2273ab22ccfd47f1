"""How the CLI finds its control plane, and what it makes of every answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from controlplane.cli.client import ATTEMPTS, Client, connect
from controlplane.cli.errors import CliError, Unreachable, VerdictNegative, WrongUsage
from controlplane.config.context import Context, Contexts, write_contexts

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> Client:
    return Client("http://cp.test", "cp_1_secret", httpx.MockTransport(handler))


def test_the_token_goes_along_and_absent_parameters_do_not() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ok": True})

    assert client(handler).get("/cp/v1/alerts", state=None, limit=5) == {"ok": True}
    assert str(seen[0].url) == "http://cp.test/cp/v1/alerts?limit=5"
    assert seen[0].headers["authorization"] == "Bearer cp_1_secret"


def test_a_token_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    for token in ("cp_1_sec\nret", "cp_1_sec ret", "cp_1_sec\x00ret", "cp_1_sécret"):
        with pytest.raises(WrongUsage) as refused:
            Client("http://cp.test", token)
        assert "ret" not in str(refused.value)


def test_blanks_around_a_token_are_not_part_of_it() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=request.headers["authorization"])

    assert Client("http://cp.test", "cp_1_secret\r\n", httpx.MockTransport(handler)).get("/") == "Bearer cp_1_secret"


def test_a_post_is_repeated_with_its_own_key_when_the_connection_breaks() -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < ATTEMPTS:
            raise httpx.ReadError("connection reset")
        return httpx.Response(202, json={"id": "7"})

    assert client(handler).post("/cp/v1/rollouts", {"model": "m"}) == {"id": "7"}
    assert len(keys) == ATTEMPTS and len(set(keys)) == 1


def test_two_posts_have_two_keys() -> None:
    keys: set[str] = set()

    def handler(request: httpx.Request) -> httpx.Response:
        keys.add(request.headers["idempotency-key"])
        return httpx.Response(202, json={})

    with client(handler) as open_client:
        open_client.post("/x")
        open_client.post("/x")
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, {"detail": "no model nope"}, WrongUsage, "no model nope"),
        (422, {"status": "error", "error": "unknown function foo"}, WrongUsage, "unknown function foo"),
        (409, {"detail": "a rollout runs", "reasons": ["rollout 7"]}, VerdictNegative, "a rollout runs"),
        (409, {"detail": "only one", "reasons": ["only one"]}, VerdictNegative, "only one"),
        (409, {"title": "Refused", "detail": "a; b", "reasons": ["a", "b"]}, VerdictNegative, "Refused"),
        (403, {"detail": "needs operator"}, VerdictNegative, "needs operator"),
        (401, {"detail": "expired"}, VerdictNegative, "the control plane does not accept this token: expired"),
        (503, {"detail": "database is away"}, Unreachable, "database is away"),
        (500, None, VerdictNegative, "500 Internal Server Error"),
        (502, ["not", "a", "problem"], Unreachable, "502 Bad Gateway"),
    ],
)
def test_a_refusal_becomes_its_own_error(status: int, body: object, error: type[CliError], message: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=body) if body is not None else httpx.Response(status, text="<html>")

    with pytest.raises(error) as caught:
        client(handler).get("/x")
    assert str(caught.value) == message
    shown = {"a rollout runs": ("rollout 7",), "only one": (), "Refused": ("a", "b")}
    if status == 409:
        assert caught.value.reasons == shown[message]


def test_exit_codes_are_the_documented_ones() -> None:
    assert (VerdictNegative.exit_code, WrongUsage.exit_code, Unreachable.exit_code) == (1, 2, 3)


def test_nobody_there_says_where_and_what_to_do() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(Unreachable, match=r"http://cp\.test: connection refused") as caught:
        client(handler).get("/x")
    assert "controlplane up" in caught.value.reasons[0]


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "127.0.0.1:80"])
def test_an_address_that_is_none_is_wrong_usage(url: str) -> None:
    with pytest.raises(WrongUsage, match="is not an address"), Client(url, "") as made:
        made.get("/x")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    contexts = Contexts("demo", {"demo": Context("http://127.0.0.1:1", "cp_demo_token")})
    write_contexts(tmp_path / "controlplane" / "config.toml", contexts)
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def authorization(made: Client) -> str | None:
    found: str | None = made._http.headers.get("authorization")
    return found


def test_the_current_context_is_used(home: dict[str, str]) -> None:
    made = connect(None, home)
    assert (made.url, authorization(made)) == ("http://127.0.0.1:1", "Bearer cp_demo_token")


def test_the_environment_goes_before_the_context_and_the_option_before_both(home: dict[str, str]) -> None:
    home |= {"CP_URL": "http://env", "CP_TOKEN": "cp_env"}
    assert (connect(None, home).url, authorization(connect(None, home))) == ("http://env", "Bearer cp_env")
    assert connect("http://option", home).url == "http://option"


def test_a_contexts_token_goes_only_to_its_own_address(home: dict[str, str]) -> None:
    assert authorization(connect("http://elsewhere", home)) is None
    assert authorization(connect("http://127.0.0.1:1/", home)) == "Bearer cp_demo_token"


def test_without_any_address_it_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="which control plane"):
        connect(None, {"XDG_CONFIG_HOME": str(tmp_path)})


def test_a_broken_context_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "controlplane").mkdir()
    (tmp_path / "controlplane" / "config.toml").write_text("= broken")
    with pytest.raises(WrongUsage, match=r"config\.toml"):
        connect(None, {"XDG_CONFIG_HOME": str(tmp_path)})
