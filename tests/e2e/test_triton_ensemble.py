"""An ensemble on a real Triton: its failures count once, and its requests count once in the total of the dashboard."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from alerts.packs import threshold_values
from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.exposition.parser import parse
from collectors.http.fetch import HttpSource
from collectors.target import Source, Target
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from dashboards.boards.fleet import fleet
from dashboards.settings import Settings
from tests.alive import real_triton

SLOW_S, START_S = 30.0, 1_795_000_000.0
pytestmark = pytest.mark.needs("triton")

_MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        made = []
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            if text[0] == b"raise" and "@raises@" == "yes":
                raise RuntimeError("CUDA error: device-side assert triggered")
            made.append(pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUT", text)]))
        return made
"""
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "IN" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "OUT" data_type: TYPE_STRING dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""
_ENSEMBLE = """
name: "ens"
platform: "ensemble"
max_batch_size: 0
input [ { name: "IN" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_STRING dims: [ 1 ] } ]
ensemble_scheduling { step [
  { model_name: "pre" model_version: -1 input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "mid" } },
  { model_name: "llm" model_version: -1 input_map { key: "IN" value: "mid" } output_map { key: "OUT" value: "OUT" } }
] }
"""


def write_models(folder: Path) -> None:
    for name, raises in (("pre", "no"), ("llm", "yes")):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.py").write_text(_MODEL.replace("@raises@", raises))
        (folder / name / "config.pbtxt").write_text(_CONFIG.format(name=name))
    (folder / "ens" / "1").mkdir(parents=True)
    (folder / "ens" / "config.pbtxt").write_text(_ENSEMBLE)


async def store(source: Source, target: Target, into: SeriesStore, *at_s: float) -> None:
    """Read a source once, and store what it says at these seconds after the start."""
    parsed = parse(await source.read(SLOW_S))
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())
    values = np.array([float(v) for v in parsed.values])
    for each in at_s:
        into.append(target.key, layout, round((START_S + each) * 1000), values)


async def until_counted(session: aiohttp.ClientSession, url: str, count: int) -> None:
    """Wait until Triton has counted this many ends of requests in all its models: it counts after it answers."""
    async with asyncio.timeout(SLOW_S):
        while True:
            async with session.get(url) as answer:
                ends = re.findall(r"^nv_inference_request_(?:success|failure)\{.*\} (\d+)$", await answer.text(), re.M)
            if sum(map(int, ends)) >= count:
                return
            await asyncio.sleep(0.05)


def total_of_the_dashboard() -> str:
    """Return the query of the panel, for all models and windows of two minutes."""
    panel = next(p for p in fleet(Settings(threshold_values()))["panels"] if p["title"] == "Requests per second")
    return re.sub(r"\$__rate_interval", "2m", re.sub(r"\$(model|fleet)", ".*", panel["targets"][0]["expr"]))


async def test_a_request_to_an_ensemble_counts_once_however_it_ends(tmp_path: Path) -> None:
    write_models(tmp_path / "models")
    async with (
        real_triton(tmp_path / "models", tmp_path / "triton", models=("pre", "llm", "ens")) as server,
        aiohttp.ClientSession() as session,
    ):

        async def ask(model: str, text: str, times: int) -> list[int]:
            body = {"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [1], "data": [text]}]}
            statuses = []
            for _ in range(times):
                async with session.post(f"{server.http_url}/v2/models/{model}/infer", json=body) as answer:
                    statuses.append(answer.status)
            return statuses

        assert await ask("ens", "hello", 5) == [200] * 5
        assert await ask("ens", "raise", 2) == [500] * 2
        metrics, readiness = HttpSource(server.metrics_url), ReadinessSource(Api.TRITON, server.http_url)
        numbers = Target("triton", server.metrics_url, "triton", server.metrics_url.split("/")[2])
        states = Target("readiness", server.http_url, "readiness", server.http_url.split("/")[2])
        kept = SeriesStore()
        try:
            await until_counted(session, server.metrics_url, 17 + 6)  # successes and failures of all three models
            await store(metrics, numbers, kept, 15, 30, 45, 60)
            assert await ask("ens", "hello", 6) == [200] * 6
            assert await ask("ens", "raise", 3) == [500] * 3
            assert await ask("llm", "hello", 2) == [200] * 2
            await until_counted(session, server.metrics_url, 23 + 23 + 9)
            await store(metrics, numbers, kept, 75, 90, 105, 120)
            await store(readiness, states, kept, 120)
        finally:
            await metrics.close()
            await readiness.close()

    engine = PromqlEngine(kept)

    def value(query: str) -> float:
        found = engine.instant(query, START_S + 120)
        assert isinstance(found, Vector)
        (sample,) = found.samples
        return sample.value

    ended = 'llm_requests_total{served_model="%s",outcome="%s"}'
    assert value(f"sum({ended % ('ens', 'error')})") == 2 + 3
    assert value(f"sum({ended % ('ens', 'success')})") == 5 + 6
    assert value(f"sum({ended % ('llm', 'error')})") == 2 + 3
    # Triton counts 9, 9 and 11 requests in its three models. Nine were to the ensemble and two to the model itself.
    in_all = value('sum(rate(llm_requests_total{source="engine"}[2m]))')
    assert value(total_of_the_dashboard()) == pytest.approx(in_all * 11 / 29)
