"""The dashboards in a running Grafana: created, updated by uid, compared, and left alone when they are the same."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from controlplane.cli.main import run
from dashboards.errors import GrafanaError, GrafanaUnreachable
from dashboards.generate import BOARDS
from dashboards.grafana import Change, Fate, Grafana
from dashboards.settings import Settings
from tests.fakes.grafana import TOKEN, FakeGrafana, running_grafana

SETTINGS = Settings({})
FOLDER = SETTINGS.folder_uid
BOARD = {"uid": "llm-a", "title": "A", "schemaVersion": 39, "panels": [{"id": 1, "title": "one"}]}


@pytest.fixture
def fake() -> Iterator[FakeGrafana]:
    with running_grafana() as started:
        yield started


@pytest.fixture
def grafana(fake: FakeGrafana) -> Grafana:
    client = Grafana(fake.url + "/", TOKEN)
    client.make_folder(SETTINGS)
    return client


def pushed(grafana: Grafana, board: dict[str, object]) -> Change:
    """Push a dashboard; return the change that was made."""
    change = grafana.change(board, FOLDER)
    grafana.push(change)
    return change


def test_a_dashboard_is_created_updated_and_then_left_alone(grafana: Grafana, fake: FakeGrafana) -> None:
    assert pushed(grafana, BOARD).fate is Fate.CREATE
    assert (fake.folders, fake.dashboards["llm-a"]["version"]) == ({FOLDER: "LLM fleet"}, 1)
    assert grafana.change(BOARD, FOLDER).fate is Fate.SAME
    newer = BOARD | {"panels": [{"id": 1, "title": "two"}]}
    change = pushed(grafana, newer)
    assert change.fate is Fate.UPDATE
    assert [line for line in change.diff.splitlines() if line[0] in "+-"] == [
        "--- grafana/llm-a",
        "+++ generated/llm-a",
        '-      "title": "one"',
        '+      "title": "two"',
    ]
    posts = len([asked for asked in fake.asked if asked.startswith("POST")])
    for _ in range(3):
        assert pushed(grafana, newer) == Change("llm-a", "A", Fate.SAME, "", newer, FOLDER, 2)
    assert len([asked for asked in fake.asked if asked.startswith("POST")]) == posts
    assert fake.dashboards["llm-a"]["version"] == 2


def test_a_dashboard_that_people_moved_stays_where_it_is(grafana: Grafana, fake: FakeGrafana) -> None:
    pushed(grafana, BOARD)
    assert fake.folder_of == {"llm-a": FOLDER}
    for folder in ("team-a", ""):
        fake.folders["team-a"], fake.folder_of["llm-a"] = "Team A", folder
        pushed(grafana, BOARD | {"title": f"B{folder}"})
        assert (fake.folder_of["llm-a"], fake.dashboards["llm-a"]["title"]) == (folder, f"B{folder}")


@pytest.mark.parametrize("bare", [False, True], ids=["grafana-11", "grafana-10"])
def test_a_grafana_that_raises_the_schema_is_not_written_to_again(
    grafana: Grafana, fake: FakeGrafana, bare: bool
) -> None:
    fake.raises_schema, fake.bare_versions = True, bare
    pushed(grafana, BOARD)
    assert fake.dashboards["llm-a"]["schemaVersion"] == 42
    assert grafana.change(BOARD, FOLDER).fate is Fate.SAME
    fake.save(fake.dashboards["llm-a"] | {"title": "edited by hand"})
    change = grafana.change(BOARD, FOLDER)
    assert change.fate is Fate.UPDATE and '-  "title": "edited by hand"' in change.diff
    assert grafana.change(BOARD | {"title": "B"}, FOLDER).fate is Fate.UPDATE


def test_an_edit_between_the_look_and_the_save_is_not_overwritten(grafana: Grafana, fake: FakeGrafana) -> None:
    pushed(grafana, BOARD)
    fake.edit_before_save = True
    with pytest.raises(GrafanaError, match=r"412 to POST /api/dashboards/db: .*someone else; .*look at the diff again"):
        pushed(grafana, BOARD | {"title": "B"})
    assert fake.dashboards["llm-a"]["title"] == "edited"


def test_a_provisioned_dashboard_is_told_with_its_cure(grafana: Grafana, fake: FakeGrafana) -> None:
    pushed(grafana, BOARD)
    fake.provisioned.add("llm-a")
    with pytest.raises(GrafanaError, match=r"A \(llm-a\) is provisioned from a file.*dashboards generate"):
        grafana.change(BOARD, FOLDER)


def test_a_dashboard_of_somebody_else_with_our_uid_is_left_as_it_is(grafana: Grafana, fake: FakeGrafana) -> None:
    fake.save({"uid": "llm-a", "title": "Mine", "tags": ["team-a"], "panels": []}, "made by hand")
    with pytest.raises(
        GrafanaError, match=r'^Mine \(llm-a\) was made by somebody else .*--set NAME.*"generated" on it'
    ):
        grafana.change(BOARD, FOLDER)
    fake.save(fake.dashboards["llm-a"] | {"tags": ["team-a", "generated"]})
    assert pushed(grafana, BOARD).fate is Fate.UPDATE


def test_a_pushed_dashboard_whose_tags_people_removed_is_still_ours(grafana: Grafana, fake: FakeGrafana) -> None:
    pushed(grafana, BOARD)
    for title in ("edited", "edited again"):
        fake.save(fake.dashboards["llm-a"] | {"title": title, "tags": None})
    assert grafana.change(BOARD, FOLDER).fate is Fate.UPDATE


def test_a_fleet_does_not_overwrite_the_dashboards_of_another(grafana: Grafana, fake: FakeGrafana) -> None:
    boards = {name: BOARD | {"tags": Settings({}, fleet=name).tags} for name in ("north", "south")}
    pushed(grafana, boards["north"])
    assert fake.dashboards["llm-a"]["tags"] == ["llm", "generated", "fleet: north"]
    with pytest.raises(
        GrafanaError, match=r'limits of the fleet "north", .* of the fleet "south".*--set NAME.*renamed'
    ):
        grafana.change(boards["south"], FOLDER)
    assert grafana.change(boards["north"], FOLDER).fate is Fate.SAME
    with pytest.raises(
        GrafanaError, match=r'limits of the fleet "north", .* of no fleet: .* with -c, .*--set NAME.*"fleet: north"'
    ):
        grafana.change(BOARD | {"tags": Settings({}).tags}, FOLDER)
    fake.save(fake.dashboards["llm-a"] | {"tags": ["llm", "generated"]})  # the cure
    assert pushed(grafana, boards["south"]).fate is Fate.UPDATE


def test_dashboards_of_no_fleet_become_those_of_the_first_fleet_that_pushes(
    grafana: Grafana, fake: FakeGrafana
) -> None:
    pushed(grafana, BOARD | {"tags": Settings({}).tags})
    assert pushed(grafana, BOARD | {"tags": Settings({}, fleet="north").tags}).fate is Fate.UPDATE
    assert fake.dashboards["llm-a"]["tags"] == ["llm", "generated", "fleet: north"]


@pytest.mark.parametrize(
    ("status", "kind", "body", "message"),
    [
        (
            401,
            "application/json",
            b'{"message": "Invalid API key"}',
            "answered 401 .*Invalid API key; give the token",
        ),
        (403, "application/json", b'{"message": "no"}', "answered 403 .*: no; the service account needs"),
        (500, "application/json", b'{"message": "database is locked"}', "answered 500 .*: database is locked$"),
        (502, "text/html", b"<html>Bad Gateway</html>", "answered 502 .*; is http.* the address of Grafana"),
        (404, "text/html", b"not here", "answered 404 .*; is http.* the address of Grafana"),
        (302, "text/html", b"", "answered 302 .*; it sends on to /login; is http.* the address of Grafana"),
        (200, "text/html", b"<html>", "answered 200 .*; is http.* the address of Grafana"),
        (200, "application/json", b"[" * 200_000, "answered 200 .*; is http.* the address of Grafana"),
        (200, "application/json", b"[]", "Grafana's answer has no dashboard"),
        (200, "application/json", b'{"dashboard": {}, "meta": 3}', "Grafana's answer has no meta"),
    ],
)
def test_an_answer_that_is_no_grafanas_is_told_with_its_cure(
    grafana: Grafana, fake: FakeGrafana, status: int, kind: str, body: bytes, message: str
) -> None:
    fake.answer = (status, kind, body)
    with pytest.raises(GrafanaError, match=message):
        grafana.change(BOARD, FOLDER)


def test_an_endless_answer_is_not_read_to_its_end(
    grafana: Grafana, fake: FakeGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboards.grafana.MAX_ANSWER_BYTES", 1000)
    fake.answer = (200, "application/json", b" " * 5000)
    with pytest.raises(GrafanaError, match=r"answered more than 1000 bytes"):
        grafana.change(BOARD, FOLDER)


def test_a_grafana_that_is_not_there_and_a_wrong_address() -> None:
    for url, told in (("http://127.0.0.1:1", r"127\.0\.0\.1:1 cannot"), ("http://a..b", r"a\.\.b cannot be reached")):
        with pytest.raises(GrafanaUnreachable, match=told):
            Grafana(url, TOKEN).change(BOARD, FOLDER)
    for url in ("grafana:3000", "http://grafana/?orgId=1"):
        with pytest.raises(GrafanaError, match="expected the address of Grafana"):
            Grafana(url, TOKEN)
    with pytest.raises(GrafanaError, match=r"/nowhere\.pem: cannot be read"):
        Grafana("https://grafana", TOKEN, "/nowhere.pem")


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "), (b"HTTP/1.1 200 OK\r\nX: ", b"a"), (b"", b"")],
    ids=["body", "header", "silent"],
)
def test_an_answer_that_drips_is_not_waited_for(beginning: bytes, drop: bytes) -> None:
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            client, _ = server.accept()
            with client, suppress(OSError):
                client.sendall(beginning)
                while not heard.wait(0.05):
                    client.sendall(drop)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(GrafanaUnreachable, match="did not answer in time"):
                Grafana(f"http://127.0.0.1:{server.getsockname()[1]}", TOKEN, timeout_s=0.5).change(BOARD, FOLDER)
        finally:
            heard.set()
            thread.join()


@pytest.fixture
def words(fake: FakeGrafana, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The options of diff and push for the fake and a fleet.yaml."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "fleet: {name: f, external_url: https://llm.example.org/}\nthresholds: {latency_p99: {value: 3s}}\n"
    )
    return ["--url", fake.url, "-c", str(path)]


def test_the_verbs_show_make_and_repeat_without_a_change(
    fake: FakeGrafana, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dashboards", "diff", *words]) == 1
    told = capsys.readouterr()
    assert f"dashboards to create: {len(BOARDS)}; `dashboards push` would do so" in told.err
    assert "\n+++ generated/llm-fleet\n" in told.out
    assert run(["dashboards", "push", *words, "--dry-run"]) == 0
    assert "would be created: LLM fleet (llm-fleet)" in capsys.readouterr().out
    assert (fake.dashboards, fake.folders) == ({}, {})

    assert run(["dashboards", "push", *words]) == 0
    assert capsys.readouterr().out.count("created: ") == len(BOARDS)
    steps = {
        step["value"]
        for panel in fake.dashboards["llm-fleet"]["panels"]
        if panel["title"] == "P99 latency"
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    }
    assert steps == {None, 3.0}
    assert "https://llm.example.org/alerts" in json.dumps(fake.dashboards["llm-alerts"])

    for verb in ("diff", "push"):
        assert run(["dashboards", verb, *words]) == 0
        assert "Grafana has all dashboards as they would be generated" in capsys.readouterr().out
    fake.save(fake.dashboards["llm-gpu"] | {"refresh": "1m"})
    assert run(["dashboards", "diff", *words]) == 1
    told = capsys.readouterr()
    assert '\n-  "refresh": "1m",\n' in told.out and "dashboards to update: 1;" in told.err
    assert run(["dashboards", "push", *words]) == 0
    assert "updated: GPUs (llm-gpu), a diff of " in capsys.readouterr().out


def test_every_dashboard_that_is_left_as_it_is_is_told_beside_the_diffs_of_the_others(
    fake: FakeGrafana, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dashboards", "push", *words]) == 0
    for uid in ("llm-fleet", "llm-gpu"):
        fake.provisioned.add(uid)
    fake.save(fake.dashboards["llm-model"] | {"title": "edited"})
    capsys.readouterr()
    assert run(["dashboards", "diff", *words]) == 1
    out, err = capsys.readouterr()
    assert '-  "title": "edited"' in out
    assert "LLM fleet (llm-fleet) is provisioned from a file" in err
    assert err.strip().endswith(". The same is true of GPUs (llm-gpu)") and len(err.strip().splitlines()) == 1
    before = dict(fake.dashboards)
    assert run(["dashboards", "push", *words]) == 1, "a push is made whole or not at all"
    assert fake.dashboards == before and capsys.readouterr().err == err


def test_two_fleets_have_a_set_each_in_one_grafana(
    fake: FakeGrafana, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dashboards", "push", *words]) == 0
    other = tmp_path / "other.yaml"
    other.write_text("fleet: {name: g}\nthresholds: {latency_p99: {value: 9s}}\n")
    theirs = [*words[:2], "-c", str(other)]
    capsys.readouterr()
    assert run(["dashboards", "push", *theirs]) == 1
    assert 'LLM fleet (llm-fleet) has the limits of the fleet "f"' in capsys.readouterr().err
    assert run(["dashboards", "push", *words[:2]]) == 1
    told = capsys.readouterr().err
    assert 'LLM fleet (llm-fleet) has the limits of the fleet "f", and these dashboards are of no fleet: ' in told
    assert {board["version"] for board in fake.dashboards.values()} == {1}
    assert run(["dashboards", "push", *theirs, "--set", "g"]) == 0
    for again in (words, [*theirs, "--set", "g"]):
        assert run(["dashboards", "diff", *again]) == 0
    assert len(fake.dashboards) == 2 * len(BOARDS)
    assert fake.folders == {"llm-fleet-dashboards": "LLM fleet", "llm-g-dashboards": "LLM fleet (g)"}
    board = fake.dashboards["llm-g-fleet"]
    assert (board["title"], board["tags"]) == ("LLM fleet (g)", ["llm-g", "generated", "fleet: g"])
    assert board["links"][0]["tags"] == ["llm-g"] and '"/d/llm-g-model?' in json.dumps(board)
    assert '"/d/llm-model?' not in json.dumps(board)


@pytest.mark.parametrize("name", ["a b", "-a", "a/b", "舰队", "a" * 21])
def test_a_name_of_a_set_that_no_uid_can_have_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboards", "generate", "--out", "x", f"--set={name}"]) == 2
    assert "--set: " in (told := capsys.readouterr().err) and "at most 20 of a-z, A-Z, 0-9 and -" in told


def test_wrong_calls_of_the_verbs_are_told_and_the_token_is_not(
    fake: FakeGrafana, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dashboards", "diff", *words, "--token-env", "NOT_SET"]) == 2
    assert "--token-env: the environment variable NOT_SET is not set" in capsys.readouterr().err
    monkeypatch.setenv("GRAFANA_TOKEN", "two\nlines")
    assert run(["dashboards", "push", *words]) == 2
    told = capsys.readouterr().err
    assert "characters that no token has" in told and "two" not in told
    monkeypatch.setenv("GRAFANA_TOKEN", "glsa_wrong")
    assert run(["dashboards", "push", *words]) == 1
    told = capsys.readouterr().err
    assert "Grafana answered 401" in told and "glsa_wrong" not in told
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    assert run(["dashboards", "push", "--url", fake.url.replace("://", "://admin:hunter2@")]) == 2
    told = capsys.readouterr().err
    assert "has credentials" in told and "hunter2" not in told
    assert run(["dashboards", "diff", "--url", "http://127.0.0.1:1"]) == 3
    assert "cannot be reached" in capsys.readouterr().err
