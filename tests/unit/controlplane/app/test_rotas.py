"""Rotas: when calendars are fetched, what counts when that fails, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from collectors.target import Proxy
from controlplane.app.check import inspect_file
from controlplane.app.notifiers import notifier_recipes
from controlplane.app.rotas import part
from controlplane.app.rotas.fetching import Fetched
from controlplane.app.rotas.part import LATE, Rotas, RotaSettings, rota_settings
from controlplane.config.loader import load_fleet
from controlplane.config.model import Fleet
from controlplane.errors import ConfigErrors, Unavailable
from controlplane.fleet.alerting.route import stages_of
from controlplane.fleet.rota.calendar import CalendarError, Names, Reading, read_calendar
from controlplane.fleet.rota.desk import RotaDesk, RotaReading
from controlplane.store.alerting.rotas import RotaStore, StoredCalendar
from controlplane.store.database import Database
from tests.fakes.migrated import write_migrated

BEGIN = 1_800_000_000.0
"""15 January 2027, 08:00 UTC."""
SECOND = "{name: second, ical_url_env: ROTA_URL, fallback: ops}"
FLEET = """\
fleet: {name: t}
targets: [{engine: vllm, addresses: ["127.0.0.1:1"]}]
people: {ann: {slack: U0ANN, email: Ann <ann@example.org>}, bo: {}}
rotas: [{name: primary, PLACE, fallback: ops}]
notifiers:
  - {name: ops, type: log}
  - {name: pager, type: slack, channel: "#ops", token_env: HOME, on_call: primary}
  - {name: mail, type: email, host: h, from: a@b, to: [team@example.org], on_call: primary}
route: {receiver: pager, routes: [{matchers: [a=b], receiver: mail}]}
slack: {signing_secret_env: HOME, people: {U0BO: {name: bo}}}
"""


def calendar(*people: str) -> str:
    """Return a calendar in which each of these people is on call for a day, from 15 January 2027 on."""
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{day}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;VALUE=DATE:202701{15 + day}\r\n"
        f"SUMMARY:{name}\r\nEND:VEVENT\r\n"
        for day, name in enumerate(people)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{events}END:VCALENDAR\r\n"


@dataclass
class FakeClock:
    """A clock that the test moves."""

    time: float = BEGIN

    def now(self) -> float:
        return self.time


class Store(RotaStore):
    """A store whose database the test takes away."""

    away = False

    def put(self, rota: str, calendar: StoredCalendar) -> None:
        self._asked()
        super().put(rota, calendar)

    def confirm(self, rota: str, source: str, etag: str, at: float) -> bool:
        self._asked()
        return super().confirm(rota, source, etag, at)

    def keep_only(self, rotas: Collection[str]) -> None:
        self._asked()
        super().keep_only(rotas)

    def _asked(self) -> None:
        if self.away:
            raise Unavailable("the database is locked")


class World:
    """A server with a calendar, and processes that read it."""

    def __init__(self, folder: Path, db: Database, place: str = "ical_url_env: ROTA_URL") -> None:
        self.folder, self.store, self.clock = folder, Store(db), FakeClock()
        (folder / "fleet.yaml").write_text(FLEET.replace("PLACE", place))
        self.fleet = load_fleet(folder / "fleet.yaml").fleet
        self.asked: list[tuple[str, str]] = []
        self.answer: Fetched | CalendarError = Fetched(calendar("ann", "bo"), '"1"')
        self.leads = True

    async def fetch(self, url: str, etag: str, proxy: Proxy | None) -> Fetched:
        self.asked.append((url, etag))
        if isinstance(self.answer, CalendarError):
            raise self.answer
        return Fetched(None, etag) if etag and etag == self.answer.etag else self.answer

    async def process(self) -> Rotas:
        """Return a process that has just started."""
        rotas = Rotas(self.store, self.clock, self.fetch, lambda: self.leads, self.clock.now)
        await rotas.configure(rota_settings(self.fleet))
        return rotas

    async def on_call(self, rotas: Rotas) -> tuple[str, ...]:
        await rotas.beat()
        return rotas.rosters["primary"].on_call(self.clock.now())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ROTA_URL", "https://calendar.example/secret.ics")
    db = Database(write_migrated(tmp_path / "rotas.db"))
    yield World(tmp_path, db)
    db.close()


async def test_a_calendar_is_fetched_every_five_minutes_and_only_when_it_changed(world: World) -> None:
    rotas = await world.process()
    assert await world.on_call(rotas) == ("ann",)
    before = rotas.rosters
    world.clock.time += 299
    assert await world.on_call(rotas) == ("ann",)
    assert len(world.asked) == 1
    world.clock.time += 1
    assert await world.on_call(rotas) == ("ann",)
    assert world.asked[1] == ("https://calendar.example/secret.ics", '"1"')
    assert rotas.rosters is before, "dispatch need not look again"
    assert rotas.states["primary"].fetched_at == BEGIN + 300
    world.answer = Fetched(calendar("bo"), '"2"')
    world.clock.time += 300
    assert await world.on_call(rotas) == ("bo",)


async def test_the_last_good_copy_counts_while_the_server_fails_and_after_a_restart(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.on_call(await world.process())
    world.answer = CalendarError("calendar.example answered 500; check the address")
    again = await world.process()
    world.clock.time += 86_400
    assert await world.on_call(again) == ("bo",), "the second day of the stored copy"
    state = again.states["primary"]
    assert (state.fetched_at, state.fault) == (BEGIN, "calendar.example answered 500; check the address")
    world.clock.time += 300
    await again.beat()
    world.clock.time += 300
    await again.beat()
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [
        "rota primary: the calendar could not be read: calendar.example answered 500; check the address; "
        "the last copy is used",
        "rota primary: the copy of the calendar is of 2027-01-15T08:00:00.000Z: calendar.example answered 500; "
        "check the address",
    ]


@pytest.mark.parametrize(
    "text", ["<html>please sign in</html>", calendar("ann").replace("SUMMARY", "RRULE:FREQ=SECONDLY\r\nSUMMARY")]
)
async def test_an_answer_that_is_no_good_calendar_replaces_nothing(world: World, text: str) -> None:
    rotas = await world.process()
    await rotas.beat()
    world.answer = Fetched(text, '"2"')
    world.clock.time += 300
    assert await world.on_call(rotas) == ("ann",)
    assert rotas.states["primary"].fault
    assert world.store.all()["primary"].text == calendar("ann", "bo")
    assert await world.on_call(await world.process()) == ("ann",)


async def test_a_process_that_does_not_lead_fetches_nothing_and_follows_the_stored_copy(world: World) -> None:
    leader, follower = await world.process(), await world.process()
    world.leads = False
    assert await world.on_call(follower) == ()
    world.leads = True
    await leader.beat()
    world.leads = False
    world.clock.time += 60
    assert await world.on_call(follower) == ("ann",)
    assert len(world.asked) == 1


async def test_a_removed_rota_is_forgotten(world: World) -> None:
    rotas = await world.process()
    await rotas.beat()
    told = await rotas.configure(rota_settings(world.fleet.model_copy(update={"rotas": ()})))
    assert told == ["rotas: 1 removed (primary), 0 kept"]
    assert rotas.rosters == {}


async def test_a_secret_that_is_missing_is_named_and_the_address_never_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROTA_URL")
    rotas = await world.process()
    assert await world.on_call(rotas) == ()
    assert rotas.states["primary"].fault == (
        "rota primary: environment variable ROTA_URL is not set or empty; put the address of the calendar there"
    )


async def test_a_file_is_read_again_every_minute(world: World) -> None:
    (world.folder / "rota.ics").write_text(calendar("ann"))
    world.fleet = _fleet(world, "ical_file: rota.ics")
    rotas = await world.process()
    assert await world.on_call(rotas) == ("ann",)
    (world.folder / "rota.ics").write_text(calendar("bo"))
    world.clock.time += 60
    assert await world.on_call(rotas) == ("bo",)
    (world.folder / "rota.ics").write_bytes(b"\xff")
    world.clock.time += 60
    assert (await world.on_call(rotas), rotas.states["primary"].fault) == (("bo",), "it is not UTF-8 text")


async def test_the_last_good_copy_of_a_file_counts_after_a_restart(world: World) -> None:
    (world.folder / "rota.ics").write_text(calendar("ann", "bo"))
    world.fleet = _fleet(world, "ical_file: rota.ics")
    first = await world.process()
    assert await world.on_call(first) == ("ann",)
    (world.folder / "rota.ics").write_text("garbage")
    restarted = await world.process()
    world.clock.time += 30
    assert await world.on_call(restarted) == ("ann",)
    state = restarted.states["primary"]
    assert (state.fetched_at, "it is no calendar" in state.fault) == (BEGIN, True)
    other = _fleet(world, "ical_file: other.ics")
    world.fleet = other
    moved = await world.process()
    assert await world.on_call(moved) == (), "the copy is one of another file"


async def test_a_file_is_stored_once_and_again_when_it_changed_or_its_row_is_gone(world: World) -> None:
    (world.folder / "rota.ics").write_text(calendar("ann"))
    world.fleet = _fleet(world, "ical_file: rota.ics")
    rotas = await world.process()
    seen = []
    for minute in range(8):
        if minute == 2:
            world.store.away = True
            (world.folder / "rota.ics").write_text(calendar("bo"))
        if minute == 3:
            world.store.away = False
        with contextlib.suppress(Unavailable):
            await rotas.beat()
        copy = world.store.all()["primary"]
        seen.append((copy.text == calendar("ann"), copy.fetched_at - BEGIN))
        world.clock.time += 60
    assert seen == [(True, 0), (True, 0), (True, 0), *[(False, 180)] * 2, *[(False, 300)] * 3]


async def test_a_file_that_is_no_calendar_any_more_replaces_nothing_and_its_copy_grows_old(world: World) -> None:
    (world.folder / "rota.ics").write_text(calendar("ann"))
    world.fleet = _fleet(world, "ical_file: rota.ics")
    rotas = await world.process()
    assert await world.on_call(rotas) == ("ann",)
    (world.folder / "rota.ics").write_text("please sign in")
    ages = []
    for _minute in range(3):
        world.clock.time += 60
        assert await world.on_call(rotas) == ("ann",)
        assert "it is no calendar" in rotas.states["primary"].fault
        ages.append(RotaDesk(lambda: rotas.states, world.clock.now).readings()[0].age_s)
    assert ages == [60, 120, 180]
    (world.folder / "rota.ics").write_text(calendar("bo"))
    world.clock.time += 60
    assert await world.on_call(rotas) == ("bo",)
    assert rotas.states["primary"].fault == ""
    assert RotaDesk(lambda: rotas.states, world.clock.now).readings() == (RotaReading("primary", 0, 1, 57_360),)


async def test_a_copy_whose_shifts_cannot_be_read_any_more_counts_as_read_when_they_can(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(*_given: object) -> None:
        raise CalendarError("no process can be started to read it: out of memory")

    rotas = await world.process()
    await rotas.beat()
    with monkeypatch.context() as patch:
        patch.setattr(part, "read_calendar", no_process)
        for _turn in range(13):
            world.clock.time += 300
            assert await world.on_call(rotas) == ("ann",)
        state = rotas.states["primary"]
        assert (state.fetched_at, state.fault) == (BEGIN + 3600, "no process can be started to read it: out of memory")
    world.clock.time += 300
    await rotas.beat()
    state = rotas.states["primary"]
    assert (state.fetched_at, state.fault) == (BEGIN + 4200, "")


async def test_a_calendar_that_cannot_be_stored_is_used_and_is_fetched_whole_until_it_is_stored(world: World) -> None:
    rotas = await world.process()
    await rotas.beat()
    world.answer, world.store.away = Fetched(calendar("bo"), '"2"'), True
    world.clock.time += 300
    with pytest.raises(Unavailable):
        await rotas.beat()
    assert rotas.rosters["primary"].on_call(world.clock.now()) == ("bo",)
    assert (rotas.states["primary"].fetched_at, rotas.states["primary"].fault) == (BEGIN + 300, "")
    assert world.store.all()["primary"].text == calendar("ann", "bo")
    world.store.away = False
    world.clock.time += 300
    await rotas.beat()
    assert [etag for _url, etag in world.asked] == ["", '"1"', ""]
    stored = world.store.all()["primary"]
    assert (stored.text, stored.etag, stored.fetched_at) == (calendar("bo"), '"2"', BEGIN + 600)
    world.clock.time += 300
    await rotas.beat()
    assert world.asked[-1][1] == '"2"'
    assert world.store.all()["primary"].fetched_at == BEGIN + 900


async def test_a_current_calendar_whose_copy_is_gone_is_stored_again(world: World) -> None:
    rotas = await world.process()
    await rotas.beat()
    world.store.keep_only([])
    world.clock.time += 300
    await rotas.beat()
    assert world.asked[-1][1] == '"1"', "the server says that it has not changed"
    stored = world.store.all()["primary"]
    assert (stored.text, stored.etag, stored.fetched_at) == (calendar("ann", "bo"), '"1"', BEGIN + 300)


async def test_files_are_read_and_addresses_fetched_while_the_database_is_away(world: World) -> None:
    (world.folder / "rota.ics").write_text(calendar("ann"))
    fleet = FLEET.replace(
        "{name: primary, PLACE, fallback: ops}", f"{{name: primary, ical_file: rota.ics, fallback: ops}}, {SECOND}"
    )
    (world.folder / "fleet.yaml").write_text(fleet)
    world.fleet, world.store.away = load_fleet(world.folder / "fleet.yaml").fleet, True
    rotas = await world.process()
    with pytest.raises(Unavailable):
        await rotas.beat()
    assert {name: one.on_call(BEGIN) for name, one in rotas.rosters.items()} == {
        "primary": ("ann",),
        "second": ("ann",),
    }


async def test_names_that_change_while_a_calendar_is_read_count_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotas = await world.process()
    settings = rota_settings(world.fleet)
    names = replace(settings.names, by_name={"ann": "bo"})
    _during_the_first_reading(monkeypatch, rotas, replace(settings, names=names))
    assert await world.on_call(rotas) == ("bo",)


async def test_a_calendar_that_cannot_be_read_does_not_put_off_the_next_expansion(
    world: World,
) -> None:
    rotas = await world.process()
    await rotas.beat()
    world.answer = Fetched("<html>please sign in</html>", '"2"')
    for _fetch in range(12):
        world.clock.time += 300
        await rotas.beat()
    assert rotas.rosters["primary"].known_until == BEGIN + 3600 + 35 * 86_400


async def test_a_rota_keeps_its_calendar_when_its_fallback_or_time_zone_changes(world: World) -> None:
    rotas = await world.process()
    await rotas.beat()
    settings = rota_settings(world.fleet)
    other = replace(settings.sources[0], fallback="boss", time_zone="Pacific/Kiritimati")
    told = await rotas.configure(replace(settings, sources=(other,)))
    assert told == ["rotas: 1 changed (primary), 0 kept"]
    state = rotas.states["primary"]
    assert (state.fetched_at, state.fallback, state.time_zone) == (BEGIN, "boss", "Pacific/Kiritimati")
    assert rotas.rosters["primary"].on_call(BEGIN) == ("ann",)
    world.clock.time += 5
    assert await world.on_call(rotas) == ("ann",)
    assert [shift.starts_at for shift in rotas.rosters["primary"].shifts] == [BEGIN - 22 * 3600, BEGIN + 2 * 3600]
    assert len(world.asked) == 1


async def test_a_process_that_does_not_fetch_says_when_the_other_one_cannot(world: World) -> None:
    leader, follower = await world.process(), await world.process()
    await leader.beat()
    world.leads = False
    world.clock.time += 660
    assert await world.on_call(follower) == ("ann",)
    assert follower.states["primary"].fault == ""
    world.clock.time += 60
    await follower.beat()
    state = follower.states["primary"]
    assert (state.fetched_at, state.fault) == (BEGIN, LATE)
    world.store.keep_only([])
    never = await world.process()
    world.clock.time += 661
    assert await world.on_call(never) == ()
    assert (never.states["primary"].fetched_at, never.states["primary"].fault) == (None, LATE)


def _during_the_first_reading(monkeypatch: pytest.MonkeyPatch, rotas: Rotas, settings: RotaSettings) -> None:
    """Apply settings to a process while the first calendar is read from now on."""
    loop, read, first = asyncio.get_running_loop(), read_calendar, [True]

    def reading(text: str, zone: str, names: Names, now: float) -> Reading:
        found = read(text, zone, names, now)
        if first.pop() if first else False:
            asyncio.run_coroutine_threadsafe(rotas.configure(settings), loop).result(5)
        return found

    monkeypatch.setattr(part, "read_calendar", reading)


async def test_a_calendar_that_was_never_read_is_as_old_as_the_wait_for_it(world: World) -> None:
    world.answer = CalendarError("calendar.example answered 404; check the address")
    rotas = await world.process()
    world.clock.time += 3600
    assert await world.on_call(rotas) == ()
    assert RotaDesk(lambda: rotas.states, world.clock.now).readings() == (RotaReading("primary", 3600, None, None),)


def _fleet(world: World, place: str) -> Fleet:
    (world.folder / "fleet.yaml").write_text(FLEET.replace("PLACE", place))
    return load_fleet(world.folder / "fleet.yaml").fleet


def test_only_notifiers_with_a_rota_know_people(world: World) -> None:
    recipes = notifier_recipes(load_fleet(world.folder / "fleet.yaml"))
    assert recipes["pager"].options["people"] == {"ann": "U0ANN", "bo": "U0BO"}
    assert recipes["mail"].options["people"] == {"ann": "Ann <ann@example.org>"}
    stages = stages_of(load_fleet(world.folder / "fleet.yaml"), "")
    assert (stages.rotas, stages.fallbacks) == ({"pager": "primary", "mail": "primary"}, {"primary": "ops"})


def test_check_warns_of_gaps_and_of_unknown_names(world: World) -> None:
    (world.folder / "rota.ics").write_text(calendar("zoe"))
    _fleet(world, "ical_file: rota.ics")
    told = [finding.fault.reason for finding in inspect_file(world.folder / "fleet.yaml").findings]
    assert any("nobody is on call in primary from" in one and "; ops gets its messages then" in one for one in told)
    (world.folder / "rota.ics").write_text("hello")
    told = [finding.fault.reason for finding in inspect_file(world.folder / "fleet.yaml").findings]
    assert any("the calendar cannot be used: it is no calendar" in one for one in told)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (("fallback: ops", "fallback: pager"), "rotas[0].fallback: leads back to the rota primary"),
        (("fallback: ops", "fallback: opps"), "rotas[0].fallback: 'opps' is not one of notifiers"),
        (("on_call: primary}\nroute", "on_call: first}\nroute"), "notifiers[2].on_call: 'first' is not one of rotas"),
        (("ical_url_env: ROTA_URL", "time_zone: Mars/Base"), "expected a time zone such as Europe/Berlin or UTC"),
        (("ical_url_env: ROTA_URL", "time_zone: UTC"), "needs one of ical_file:, ical_url_env:, ical_url_file:"),
        (("ical_url_env: ROTA_URL", "ical_url_env: R, ical_file: r.ics"), "has ical_file: and ical_url_env:; give one"),
        (("U0ANN", "ann"), "expected a person's id in Slack"),
    ],
)
def test_what_is_refused(world: World, edit: tuple[str, str], fault: str) -> None:
    text = FLEET.replace("PLACE", "ical_url_env: ROTA_URL").replace(*edit)
    (world.folder / "fleet.yaml").write_text(text)
    with pytest.raises(ConfigErrors) as refused:
        load_fleet(world.folder / "fleet.yaml")
    assert any(fault in str(error) for error in refused.value.errors), refused.value
