from __future__ import annotations

import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.series.matchers import Matcher, MatchOp, compile_regex
from controlplane.metrics.series.series_store import SeriesStore

JOBS = ["", "api", "api-2", "web", "we\nb", "Web"]


@pytest.fixture
def store() -> SeriesStore:
    import numpy as np

    store = SeriesStore()
    layout = Layout(tuple(Series("up", labels_of({"job": job, "n": str(n)})) for n, job in enumerate(JOBS)))
    store.append("t", layout, 1000, np.zeros(len(JOBS)))
    return store


@pytest.mark.parametrize(
    ("selector", "jobs"),
    [
        ("up", JOBS),
        ('up{job="api"}', ["api"]),
        ('up{job!="api"}', ["", "api-2", "web", "we\nb", "Web"]),
        ('up{job=""}', [""]),
        ('up{job!=""}', ["api", "api-2", "web", "we\nb", "Web"]),
        ('up{job=~"api"}', ["api"]),
        ('up{job=~"ap"}', []),
        ('up{job=~"api|web"}', ["api", "web"]),
        ('up{job=~"api|"}', ["", "api"]),
        ('up{job=~"api.*"}', ["api", "api-2"]),
        ('up{job=~".+"}', ["api", "api-2", "web", "we\nb", "Web"]),
        ('up{job=~".*"}', JOBS),
        ('up{job!~".*"}', []),
        ('up{job!~"api.*"}', ["", "web", "we\nb", "Web"]),
        ('up{job!~"web|"}', ["api", "api-2", "we\nb", "Web"]),
        ('up{job=~"we.b"}', ["we\nb"]),
        ('up{job=~"(?i)WEB"}', ["web", "Web"]),
        ('up{job=~"a.*",job!="api"}', ["api-2"]),
        ('up{nope=""}', JOBS),
        ('up{nope="x"}', []),
        ('down{job="api"}', []),
    ],
)
def test_selection(store: SeriesStore, selector: str, jobs: list[str]) -> None:
    labels = store.plan(parse_selector(selector)).labels
    assert [dict(one).get("job", "") for one in labels] == jobs


@pytest.mark.parametrize("pattern", ["(", "a**", r"(.)\1", "(?=a)b", "a{2,1}", r"\pL{1000}"])
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(QueryError, match=r"^error parsing regexp: ") as caught:
        compile_regex(pattern)
    assert caught.value.kind == "bad_data"


@pytest.mark.parametrize("op", list(MatchOp))
@pytest.mark.parametrize("value", ["a", "a|b", "a.*", "", ".*"])
def test_many_values_are_matched_as_each_is(op: MatchOp, value: str) -> None:
    matcher = Matcher("n", op, value)
    assert matcher.matching(JOBS) == {job for job in JOBS if matcher.matches(job)}


def test_a_matcher_reads_like_promql() -> None:
    assert str(Matcher("job", MatchOp.NOT_RE, "a.*")) == 'job!~"a.*"'
