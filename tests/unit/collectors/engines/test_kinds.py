"""The table of engines is the source of every list of engine names."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from collectors.catalogue.model import load_catalogue
from collectors.engines.kinds import BACKENDS, ENGINES, Api
from collectors.probe.dialects import PROTOCOLS
from controlplane.app.targets.plan import plan_scraping
from controlplane.config.loader import load_fleet
from controlplane.config.scraping.targets import TargetGroup
from controlplane.config.traffic.base import Backend
from controlplane.errors import ConfigErrors
from dashboards.generate import BOARDS

FLEET = """
fleet: {{name: x}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: none}}
    versions: {{v1: {{backends: [{{url: "http://h:8000/"{engine}}}]}}}}
"""


def test_configuration_and_catalogue_name_the_engines_of_the_table() -> None:
    (of_targets,) = (a for a in typing.get_args(TargetGroup.model_fields["engine"].annotation) if a is not type(None))
    assert typing.get_args(of_targets) == tuple(ENGINES)
    (of_backends,) = (a for a in typing.get_args(Backend.model_fields["engine"].annotation) if a is not type(None))
    assert typing.get_args(of_backends) == tuple(BACKENDS)
    (of_probes,) = (a for a in typing.get_args(TargetGroup.model_fields["protocol"].annotation) if a is not type(None))
    assert typing.get_args(of_probes) == PROTOCOLS
    assert {str(api) for api in Api} <= set(PROTOCOLS)
    unlisted = {"readiness", "controlplane"}  # made by the control plane itself
    assert set(load_catalogue().engines) - unlisted <= set(ENGINES)
    assert set(ENGINES) - set(load_catalogue().engines) == {"custom", "auto"}


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_backend_of_each_kind_is_scraped_and_asked_as_its_record_says(engine: str, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET.format(engine=f", engine: {engine}"))
    plan = plan_scraping(load_fleet(tmp_path / "fleet.yaml"))
    kind = BACKENDS[engine]
    metrics = f"http://h:{kind.metrics_port or 8000}{kind.metrics_path}"
    assert [(group.engine, group.urls) for group in plan.groups] == [
        (engine, (metrics,)),
        ("readiness", ("http://h:8000/",)),
    ]
    assert {url: ready.api for url, ready in plan.readiness.items()} == {"http://h:8000/": kind.api}


def test_metrics_of_trtllm_are_never_read_where_reading_empties_a_queue(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET.format(engine=", engine: trtllm"))
    plan = plan_scraping(load_fleet(tmp_path / "fleet.yaml"))
    assert plan.groups[0].urls == ("http://h:8000/prometheus/metrics",)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("", "", "models[0].versions.v1.backends[0].engine: is required: name the server, one of: triton, vllm, "),
        (
            'h:8000/"',
            'h:8000/", engine: auto',
            "models[0].versions.v1.backends[0].engine: auto is for targets:. A backend is asked by the API of its"
            " engine, so name the server, one of: triton, vllm, ",
        ),
        (
            "{driver: none}",
            "{driver: none, backends: [{url: 'http://t'}]}",
            "models[0].traffic.backends[0].engine: is required",
        ),
        (
            "{driver: none}",
            "{driver: triton, backends: [{url: 'http://t', engine: vllm}]}",
            "models[0].traffic.backends[0].engine: must be triton: driver triton switches no other engine",
        ),
    ],
)
def test_a_backend_whose_server_is_not_named_is_refused_with_the_cure(
    old: str, new: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET.format(engine="").replace(old or "-", new or "-", 1))
    with pytest.raises(ConfigErrors) as caught:
        load_fleet(tmp_path / "fleet.yaml")
    assert any(fault in str(error) for error in caught.value.errors)


def test_a_dashboard_of_an_engine_is_of_one_in_the_table() -> None:
    assert {name for name in BOARDS if name in ENGINES} == {"triton", "vllm", "sglang", "gateway"}
