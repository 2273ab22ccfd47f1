"""Answers of PromQL as what a test knows them to be."""

from __future__ import annotations

from controlplane.metrics.promql.values import Matrix, QueryValue, Vector


def as_vector(value: QueryValue) -> Vector:
    assert isinstance(value, Vector), value
    return value


def as_matrix(value: QueryValue) -> Matrix:
    assert isinstance(value, Matrix), value
    return value
