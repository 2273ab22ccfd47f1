"""Probe, readiness and mapping against a real Triton: what it says of itself, and what a client sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.exposition.parser import Parsed, parse
from collectors.http.fetch import HttpSource
from collectors.probe.question import Question
from collectors.probe.source import ProbeSource
from collectors.samples import View
from collectors.target import Source, Target
from controlplane.demo.repository import write_repository
from tests.alive import real_triton

SLOW_S = 30.0
UNSTREAMED = Question(parameters={"stream": False})
pytestmark = pytest.mark.needs("triton")


async def read(source: Source) -> Parsed:
    return parse(await source.read(SLOW_S))


def values(parsed: Parsed, name: str) -> dict[tuple[str, ...], float]:
    """Label values, ordered by label name, to value."""
    series = zip(parsed.series, parsed.values, strict=True)
    return {tuple(v for n, v in s.labels if n != "backend"): float(x) for s, x in series if s.name == name}


async def test_a_real_triton_is_probed_polled_and_mapped(tmp_path: Path) -> None:
    write_repository(tmp_path / "models")
    async with real_triton(tmp_path / "models", tmp_path / "triton") as server:
        probe = ProbeSource(f"{server.http_url}/v2/models/model/generate_stream", model="model")
        whole = ProbeSource(f"{server.http_url}/v2/models/model/generate", model="model", questions=[UNSTREAMED])
        lost = ProbeSource(f"{server.http_url}/v2/models/nothing/generate_stream", model="nothing")
        readiness = ReadinessSource(Api.TRITON, server.http_url)
        metrics = HttpSource(server.metrics_url)
        sources = (probe, whole, lost, readiness, metrics)
        try:
            for asked in (probe, whole):
                seen = await read(asked)
                assert {k: v for k, v in values(seen, "llm_requests_total").items() if v} == {
                    ("success", "model", "probe"): 1
                }
                (first,) = values(seen, "llm_time_to_first_token_seconds_sum").values()
                (total,) = values(seen, "llm_request_duration_seconds_sum").values()
                assert 0 < first <= total < SLOW_S
            unknown = values(await read(lost), "llm_requests_total")
            assert [k[0] for k, v in unknown.items() if v] == ["invalid"]

            assert values(await read(readiness), "llm_backend_ready") == {("model", "v1"): 1}

            raw = await read(metrics)
            target = Target("triton", server.metrics_url, job="triton", instance="t:8002", models=(("model", "chat"),))
            layout = canonical_layout(raw.series, raw.metadata, target, load_catalogue())
            assert missing(layout, load_catalogue(), "triton") == ()
            assert _value(layout.views, raw, "llm_requests_total", outcome="success", model="chat", version="v1") >= 2

            unload = f"{server.http_url}/v2/repository/models/model/unload"
            async with aiohttp.ClientSession() as session, session.post(unload, json={}) as answer:
                assert answer.status == 200
            states = values(await read(readiness), "llm_backend_ready")
            assert set(states.values()) <= {0.0}
        finally:
            for source in sources:
                await source.close()


def _value(views: Sequence[View], parsed: Parsed, name: str, **labels: str) -> float:
    (view,) = [v for v in views if v.series.name == name and labels.items() <= dict(v.series.labels).items()]
    return view.factor * float(sum(parsed.values[column] for column in view.columns))
