"""Alertmanager's API of silences."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.access.roles import Role
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.api.interop.test_alertmanager import fire

PATH = "/api/v2/silences"


def body(**changes: Any) -> dict[str, Any]:
    return {
        "matchers": [{"name": "model", "value": "chat", "isRegex": False}],
        "startsAt": "2027-01-15T08:00:00.000Z",
        "endsAt": "2027-01-15T10:00:00.000Z",
        "createdBy": "ann",
        "comment": "new driver",
    } | changes


async def test_a_silence_has_alertmanagers_fields_and_mutes_the_alert(rig: Any) -> None:
    fire(rig, alertname="Down", severity="critical", model="chat")
    async with rig.client(Role.OPERATOR) as client:
        posted = await client.post(PATH, json=body())
        assert (posted.status_code, list(posted.json())) == (200, ["silenceID"]), posted.text
        identifier = posted.json()["silenceID"]
        one = (await client.get(f"/api/v2/silence/{identifier}")).json()
        assert one == {
            "id": identifier,
            "status": {"state": "active"},
            "updatedAt": "2027-01-15T08:00:00.000Z",
            "comment": "new driver",
            "createdBy": "ann",
            "endsAt": "2027-01-15T10:00:00.000Z",
            "matchers": [{"name": "model", "value": "chat", "isRegex": False, "isEqual": True}],
            "startsAt": "2027-01-15T08:00:00.000Z",
        }
        assert (await client.get(PATH)).json() == [one]
        (alert,) = (await client.get("/api/v2/alerts")).json()
        assert alert["status"] == {"state": "suppressed", "silencedBy": [identifier], "inhibitedBy": [], "mutedBy": []}
        shown = (await client.get("/cp/v1/silences")).json()["items"][0]
        assert (shown["created_by"], shown["owner"]) == ("ann", "test-operator")
        deleted = await client.delete(f"/api/v2/silence/{identifier}")
        assert (deleted.status_code, deleted.content) == (200, b"")
        again = await client.delete(f"/api/v2/silence/{identifier}")
        assert (again.status_code, again.json()) == (409, f"silence {identifier} already expired")
        assert (await client.get(PATH)).json()[0]["status"] == {"state": "expired"}


async def test_a_change_in_place_keeps_the_id_and_another_one_begins_anew(rig: Any) -> None:
    async with rig.client(Role.OPERATOR) as client:
        first = (await client.post(PATH, json=body())).json()["silenceID"]
        rig.clock.time = NOW + 60
        longer = body(id=first, endsAt="2027-01-15T12:00:00.000Z", comment="longer")
        assert (await client.post(PATH, json=longer)).json()["silenceID"] == first
        assert (await client.get(f"/api/v2/silence/{first}")).json()["comment"] == "longer"
        other = body(id=first, matchers=[{"name": "model", "value": "code", "isRegex": False, "isEqual": True}])
        second = (await client.post(PATH, json=other)).json()["silenceID"]
        assert second != first
        states = {one["id"]: one["status"]["state"] for one in (await client.get(PATH)).json()}
        assert states == {second: "active", first: "expired"}
        third = (await client.post(PATH, json=body(id=first))).json()["silenceID"]
        assert third not in (first, second), "an expired silence is not brought back"
        lost = await client.post(PATH, json=body(id="00000000-0000-4000-8000-000000000000"))
        assert (lost.status_code, type(lost.json())) == (404, str)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"endsAt": "2027-01-15T07:00:00Z"}, "must end after it begins"),
        ({"startsAt": "2027-01-15T05:00:00Z", "endsAt": "2027-01-15T07:00:00Z"}, "must end after it begins"),
        ({"matchers": []}, "matchers"),
        ({"matchers": [{"name": "a", "value": ".*", "isRegex": True}]}, "must not match the empty string"),
        ({"matchers": [{"name": "a", "value": "(", "isRegex": True}]}, "silence invalid"),
        ({"matchers": [{"name": "", "value": "b", "isRegex": False}]}, "name"),
        ({"startsAt": "soon"}, "startsAt"),
        ({"comment": "a\x00b"}, "comment"),
    ],
)
async def test_a_wrong_silence_is_told_as_a_json_string(rig: Any, change: dict[str, Any], said: str) -> None:
    async with rig.client(Role.ADMIN) as client:
        answer = await client.post(PATH, json=body(**change))
        assert (answer.status_code, type(answer.json())) == (400, str)
        assert said in answer.json()
        assert (await client.get(PATH)).json() == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["model=chat"], 1),
        (["model=~ch.*"], 1),
        (["model!=chat"], 0),
        (["model=code"], 0),
        (["node=n1"], 0),
        (["node!=n1"], 1),
        (["model=chat", "node=n1"], 0),
    ],
)
async def test_silences_are_filtered_by_their_own_matchers(rig: Any, filters: list[str], found: int) -> None:
    async with rig.client(Role.OPERATOR) as client:
        await client.post(PATH, json=body())
        assert len((await client.get(PATH, params={"filter": filters})).json()) == found


async def test_the_order_is_alertmanagers(rig: Any) -> None:
    async with rig.client(Role.OPERATOR) as client:
        made = {}
        for name, start, end in (("late", 8, 12), ("soon", 8, 9), ("window", 20, 21), ("next", 19, 23), ("old", 8, 11)):
            times = {"startsAt": f"2027-01-15T{start:02}:00:00Z", "endsAt": f"2027-01-15T{end:02}:00:00Z"}
            made[(await client.post(PATH, json=body(**times, comment=name))).json()["silenceID"]] = name
        await client.delete(f"/api/v2/silence/{next(key for key, name in made.items() if name == 'old')}")
        names = [one["comment"] for one in (await client.get(PATH)).json()]
    assert names == ["soon", "late", "next", "window", "old"]
