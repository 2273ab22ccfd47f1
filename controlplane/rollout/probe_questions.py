"""The questions of a probe's group of targets, as probes and rollouts ask them. Pure."""

from __future__ import annotations

from collectors.probe.question import Expectation, Question, Tensor, Tensors
from controlplane.config.scraping.probe import ExpectSection, QuestionSection, TensorsSection
from controlplane.config.scraping.targets import TargetGroup


def questions_of(group: TargetGroup) -> tuple[Question, ...]:
    """Return the questions of a probe, at least one. Fields that a question lacks are those of the group."""
    return tuple(_question(group, section) for section in group.questions or (QuestionSection(),))


def _question(group: TargetGroup, section: QuestionSection) -> Question:
    defaults = Question()
    return Question(
        prompt=group.prompt if section.prompt is None else section.prompt,
        documents=defaults.documents if section.documents is None else section.documents,
        instances=section.instances or (),
        max_tokens=group.max_tokens if section.max_tokens is None else section.max_tokens,
        parameters={**group.parameters, **section.parameters},
        expect=_expect(section.expect or group.expect),
        tensors=_tensors(section.tensors or group.tensors),
    )


def _expect(section: ExpectSection | None) -> Expectation:
    found = section or ExpectSection()
    return Expectation(found.contains or "", found.regex or "", found.dimension)


def _tensors(section: TensorsSection | None) -> Tensors:
    found = section or TensorsSection()
    inputs = tuple(Tensor(one.name, one.datatype, one.shape, one.data) for one in found.inputs)
    return Tensors(found.input, found.output or "", inputs)
