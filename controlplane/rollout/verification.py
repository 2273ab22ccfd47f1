"""The check of a model's candidates from fleet.yaml: its `verify:`, or else the questions of its probe. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from collectors.engines.kinds import Api
from collectors.probe.dialects import dialect_for
from collectors.probe.openai import OpenAI
from collectors.probe.question import Expectation
from collectors.probe.question import Question as Probed
from collectors.probe.triton import TritonGenerate
from controlplane.config.model import Fleet
from controlplane.config.models import ModelSection
from controlplane.config.scraping.targets import TargetGroup
from controlplane.config.verify import OF_OPENAI, Verify
from controlplane.rollout.model import Check
from controlplane.rollout.probe_questions import questions_of
from controlplane.traffic.driver import Question

WATCH_S = 5.0
"""Default seconds of uninterrupted service. Chosen: several ticks, so that a version that dies at start is noticed."""


class Verification(NamedTuple):
    """The check of a model's candidates, and the seconds for which they are watched."""

    check: Check = Check()
    watch_s: float = WATCH_S


_PROBED: Mapping[Api | None, tuple[str, ...]] = {
    Api.TRITON: ("generate_stream", "generate", "infer"),
    Api.OPENAI: ("chat/completions", "completions", "embeddings", "rerank"),
}
"""Paths of probes whose request is a question, by the API of the model's servers."""
UNTRIED = Verification()
"""The verification of a model without `verify:` and without a probe."""


def verification(section: ModelSection, targets: Sequence[TargetGroup], scrape_interval_s: float) -> Verification:
    """Return the verification of this model's candidates. Its `verify:` and its probe name the questions."""
    wanted = section.verify or Verify()
    questions, origin = _questions(section, wanted, targets)
    # The growth of a counter needs two scrapes, and engines are scraped at the fleet's interval.
    watch_s = max(WATCH_S, 2 * scrape_interval_s + 1) if wanted.for_ is None else wanted.for_
    check = Check(
        questions=questions if wanted.requests else (),
        requests=max(wanted.requests, len(questions)) if wanted.requests and questions else 0,
        failures=wanted.failures,
        latency_s=wanted.latency,
        error_ratio=wanted.error_ratio,
        origin=origin,
    )
    return Verification(check, watch_s)


def verifications(fleet: Fleet) -> dict[str, Verification]:
    """Return the verification of each model's candidates, by model name."""
    return {section.name: verification(section, fleet.targets, fleet.scrape.interval) for section in fleet.models}


def _questions(
    section: ModelSection, wanted: Verify, targets: Sequence[TargetGroup]
) -> tuple[tuple[Question, ...], str]:
    api = _api(section)
    if wanted.body is not None or wanted.prompt is not None:
        question = asked(section, wanted.path, wanted.body, wanted.prompt, wanted.timeout)
        return (replace(question, status=wanted.status),), "`verify:` in fleet.yaml"
    for group in targets:
        for url in group.urls:
            where = urlsplit(url)
            path = next((p for p in _PROBED.get(api, ()) if where.path.rstrip("/").endswith(f"/{p}")), "")
            if path and _is_of(section, group, url):
                shown = f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"  # without a password
                questions = tuple(_of_probe(url, path, group, wanted, probed) for probed in questions_of(group))
                return questions, f"the model's probe ({shown})"
    return (), ""


def _of_probe(url: str, path: str, group: TargetGroup, wanted: Verify, probed: Probed) -> Question:
    body = dialect_for(url, group.protocol, "-", probed).body()
    body.pop("model", None)  # the driver names the model
    # Where the status of an error is wanted, the answer is none that a probe expects.
    expect = probed.expect if wanted.status == 200 else Expectation()
    prompt = "" if path == "infer" else probed.prompt
    return Question(path, body, wanted.status, wanted.timeout, expect, probed.tensors.output, prompt)


def asked(
    section: ModelSection, path: str | None, body: Mapping[str, Any] | None, prompt: str | None, timeout_s: float
) -> Question:
    """Return the question of a body, or of a prompt, in the API of the model's servers. Default path: a usual one."""
    api = _api(section)
    if body is not None:
        return Question(path or _usual(api, body), dict(body), timeout_s=timeout_s)
    path = path or ("chat/completions" if api is Api.OPENAI else "generate_stream")
    if path in OF_OPENAI:
        made = OpenAI("", Probed(prompt or ""), path == "chat/completions").body()  # the driver names the model
    else:
        made = TritonGenerate("", Probed(prompt or ""), path == "generate_stream").body()
    return Question(path, made, timeout_s=timeout_s)


def _api(section: ModelSection) -> Api | None:
    """Return the API of the model's servers. None: they have two, and one question fits only one."""
    apis = section.engine_apis()
    return next(iter(apis)) if len(apis) == 1 else None


def _usual(api: Api | None, body: Mapping[str, Any]) -> str:
    """Return the path of a body without a path."""
    if api is not Api.OPENAI:
        return "infer" if "inputs" in body else "generate_stream"
    return "embeddings" if "input" in body else "completions" if "prompt" in body else "chat/completions"


def _is_of(section: ModelSection, group: TargetGroup, url: str) -> bool:
    served = section.traffic.model or section.name
    named = group.labels.get("model", group.model_name)
    if group.engine != "probe":
        return False
    return named == section.name if named else f"/v2/models/{served}/" in urlsplit(url).path
