"""An alertmanager.yml in place of `route:`: its routes, its receivers, and its reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.dispatch import Stages
from alerts.routing.flapping import Flapping
from alerts.routing.storms import CAUSES, Storms
from collectors.samples import labels_of
from controlplane.app.changes import stamps
from controlplane.app.notifiers import notifier_recipes
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.errors import ConfigErrors
from controlplane.fleet.alerting.route import notice_receiver, stages_of

CONFIG = """\
route:
  receiver: everyone
  routes:
    - {matchers: [severity="critical"], receiver: pager}
    - {matchers: [severity="none"], receiver: "null"}
receivers:
  - name: everyone
    webhook_configs: [{url: "http://127.0.0.1:1/s3cret"}, {url: "http://127.0.0.1:2/"}]
  - name: pager
    pagerduty_configs: [{routing_key: 0123456789abcdef0123456789abcdef}]
  - name: "null"
"""
FLEET = "fleet: {name: t}\nnotifications: {alertmanager_config: am.yml}\n"
Load = Callable[..., LoadedFleet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(fleet: str, config: str = CONFIG) -> LoadedFleet:
        (tmp_path / "am.yml").write_text(config)
        (tmp_path / "fleet.yaml").write_text(fleet)
        return load_fleet(tmp_path / "fleet.yaml")

    return load


def notifiers(stages: Stages, severity: str) -> list[str]:
    return [outlet.notifier for outlet in stages.outlets(labels_of({"alertname": "A", "severity": severity}))]


def test_its_root_sends_the_severity_none_too_as_alertmanager_does(load: Load) -> None:
    config = CONFIG.replace('    - {matchers: [severity="none"], receiver: "null"}\n', "")
    assert notifiers(stages_of(load(FLEET, config), "http://c"), "none") == [
        "everyone/webhook[0]",
        "everyone/webhook[1]",
    ]


def test_its_receivers_become_notifiers_and_its_routes_lead_to_them(load: Load) -> None:
    loaded = load(FLEET, CONFIG)
    stages = stages_of(loaded, "http://c")
    both = ["everyone/webhook[0]", "everyone/webhook[1]"]
    assert {severity: notifiers(stages, severity) for severity in ("critical", "warning", "none")} == {
        "critical": ["pager"],
        "warning": both,
        "none": [],
    }
    assert set(notifier_recipes(loaded)) == {"log", "pager", *both}
    assert notice_receiver(loaded) == both[0]


def test_its_alerts_flap_only_where_fleet_yaml_says_so(load: Load) -> None:
    assert stages_of(load(FLEET), "").routing.flapping is None
    on = FLEET.replace("am.yml", "am.yml, flapping: {changes: 7}")
    assert stages_of(load(on), "").routing.flapping == Flapping(7, 3600.0, 900.0)
    off = FLEET.replace("am.yml", "am.yml, flapping: {enabled: false}")
    assert stages_of(load(off), "").routing.flapping is None
    own = "fleet: {name: t}\n"
    assert stages_of(load(own), "").routing.flapping == Flapping(5, 3600.0, 900.0)
    assert stages_of(load(own + "route: {receiver: log, flapping: {enabled: false}}\n"), "").routing.flapping is None


def test_its_alerts_make_storms_only_where_fleet_yaml_says_so(load: Load) -> None:
    assert stages_of(load(FLEET), "").routing.storms is None
    on = FLEET.replace("am.yml", "am.yml, storms: {groups: 20, causes: [pdu]}")
    assert stages_of(load(on), "").routing.storms == Storms(20, 60.0, 0.7, ("pdu",))
    own = "fleet: {name: t}\n"
    assert stages_of(load(own), "").routing.storms == Storms(10, 60.0, 0.7, CAUSES)
    assert stages_of(load(own + "route: {receiver: log, storms: {enabled: false}}\n"), "").routing.storms is None


def test_a_notifier_of_fleet_yaml_takes_the_place_of_a_receiver(load: Load) -> None:
    loaded = load(f"{FLEET}notifiers: [{{name: everyone, type: log}}]\n", CONFIG)
    assert notifiers(stages_of(loaded, ""), "warning") == ["everyone"]
    assert set(notifier_recipes(loaded)) == {"log", "pager", "everyone"}


def test_notices_go_to_the_log_where_the_root_receiver_has_no_notifier(load: Load) -> None:
    assert notice_receiver(load(FLEET, 'route: {receiver: "null"}\nreceivers: [{name: "null"}]\n')) == "log"


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ("route: {receiver: nobody}\n", "receiver nobody is not in receivers:"),
        (
            "route: {receiver: a}\nreceivers: [{name: a, sns_configs: [{}]}]\n",
            "receivers of kind sns are not supported",
        ),
    ],
)
def test_a_file_that_cannot_be_taken_over_refuses_the_configuration(load: Load, config: str, fault: str) -> None:
    loaded = load(FLEET, config)
    for read in (lambda: stages_of(loaded, ""), lambda: notifier_recipes(loaded), lambda: notice_receiver(loaded)):
        with pytest.raises(ConfigErrors, match=fault) as refused:
            read()
        (error,) = refused.value.errors
        assert (error.field, error.line) == ("notifications.alertmanager_config", 2)


def test_a_change_of_the_file_is_seen(load: Load, tmp_path: Path) -> None:
    loaded = load(FLEET, CONFIG)
    before = stamps(loaded)
    (tmp_path / "am.yml").write_text(CONFIG + "\n")
    assert stamps(loaded) != before
    templates = load(FLEET, CONFIG + 'templates: ["*.tmpl"]\n')
    before = stamps(templates)
    (tmp_path / "a.tmpl").write_text('{{ define "a" }}{{ end }}')
    assert stamps(templates) != before
