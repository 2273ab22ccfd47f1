"""Three rules of docstrings that a program can check. Each message names the place and the cure."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]

PACKAGES = ("alerts", "collectors", "controlplane", "dashboards", "promql")
"""Packages and modules whose docstrings are checked, relative to the root of the project."""

OPENERS = re.compile(r"(What|Who|Whose|Whom|Which|How|That|Until|Where from|Told|Of what|As)\b(?! many| long| often)")
"""Openings of a fragment instead of a noun phrase or a sentence."""

ARRAYS = re.compile(r"\b(ndarray|NDArray|Floats|Ints|Bools|Integers|Booleans|(Float|Int|Bool)Array)\b")
"""Annotations of arrays."""

SHAPES = re.compile(
    r"shape|dtype|float64|int64|int32|uint8|bool\b|\(\w+(, \w+)*,?\)|\[\w+(, \w+)*\]|one (value|number|entry|row)"
)
"""Words of a docstring that tell the shape or the dtype of an array."""

UNNAMED = frozenset({"AssertionError", "Exit", "NotImplementedError", "StopIteration", "SystemExit"})
"""Exceptions that are no part of a function's contract with its callers."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


class Finding(NamedTuple):
    """A place in a file that breaks a rule."""

    line: int
    message: str


Rule = Callable[[ast.Module], Iterator[Finding]]


def fragments(tree: ast.Module) -> Iterator[Finding]:
    """Yield the docstrings of modules, classes, functions and values that begin with a question word."""
    for owner in ast.walk(tree):
        for statement in owner.body if isinstance(owner, Documented) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))) if opener := OPENERS.match(text.strip()):
                    cure = 'begin with a noun or an imperative, such as "Maximum age …" or "Return …"'
                    yield Finding(statement.lineno, f"the docstring begins with {opener[0]!r}: {cure}")


def unnamed_errors(tree: ast.Module) -> Iterator[Finding]:
    """Yield the public functions that raise an error which their docstring does not name."""
    for function, text in _documented(tree):
        missing = sorted(error for error in _raised(function) - UNNAMED if error not in text)
        if missing:
            cure = f'add a sentence "Raises {missing[0]} when …" to the docstring'
            yield Finding(function.lineno, f"{function.name} raises {', '.join(missing)} and does not say so: {cure}")


def shapeless_arrays(tree: ast.Module) -> Iterator[Finding]:
    """Yield the public functions on arrays whose docstring tells neither shape nor dtype."""
    for function, text in _documented(tree):
        arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        annotations = [*(argument.annotation for argument in arguments), function.returns]
        notes = " ".join(ast.unparse(annotation) for annotation in annotations if annotation is not None)
        if ARRAYS.search(notes) and not SHAPES.search(text):
            cure = 'add them to the docstring, such as "float64 of shape [series, steps]"'
            yield Finding(function.lineno, f"{function.name} has arrays without shape or dtype: {cure}")


def _documented(tree: ast.Module) -> Iterator[tuple[Function, str]]:
    """Yield the public functions that have a docstring, `__init__` included."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and (node.name == "__init__" or not node.name.startswith("_")):
            text = ast.get_docstring(node)
            if text is not None:
                yield node, text


def _raised(function: Function) -> set[str]:
    """Return the names of the classes that a function raises itself. The body of a `try` with handlers is left out."""
    found: set[str] = set()
    todo: list[ast.AST] = list(function.body)
    while todo:
        match todo.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                continue
            case ast.Try(handlers=[_, *_]) as handled:
                todo += [*handled.orelse, *handled.finalbody, *handled.handlers]
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) | ast.Name(id=name)):
                found |= {name} if name[:1].isupper() else set()
            case node:
                todo += ast.iter_child_nodes(node)
    return found


def _sources() -> list[Path]:
    paths = [ROOT / package for package in PACKAGES]
    return sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))


def _findings(rule: Rule) -> list[str]:
    trees = ((file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))) for file in _sources())
    return [f"{file}:{line}: {message}" for file, tree in trees for line, message in sorted(rule(tree))]


def test_every_package_has_sources() -> None:
    empty = [name for name in PACKAGES if not any(file.is_relative_to(ROOT / name) for file in _sources())]
    assert not empty, f"PACKAGES names paths without Python files: {empty}; correct or remove them"


def test_docstrings_begin_with_a_noun_or_an_imperative() -> None:
    found = _findings(fragments)
    assert not found, "\n".join(found)


def test_functions_name_the_errors_that_they_raise() -> None:
    found = _findings(unnamed_errors)
    assert not found, "\n".join(found)


def test_functions_on_arrays_tell_shape_or_dtype() -> None:
    found = _findings(shapeless_arrays)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "source", "lines"),
    [
        (fragments, '"""What a thing is."""', [1]),
        (fragments, 'AGE_S = 1\n"""How old it may be."""', [2]),
        (fragments, 'AGE_S = 1\n"""Maximum age in seconds."""', []),
        (fragments, 'def f():\n    """How many rows there are."""', []),
        (unnamed_errors, 'def f():\n    """Do it."""\n    raise ValueError("no")', [1]),
        (unnamed_errors, 'def f():\n    """Do it."""\n    raise errors.Full', []),
        (
            unnamed_errors,
            'def f():\n    """Do it. Raises ValueError when it is odd."""\n    raise ValueError("no")',
            [],
        ),
        (
            unnamed_errors,
            'def f():\n    """Do it."""\n    try:\n        g()\n    except OSError:\n        raise Lost',
            [1],
        ),
        (
            unnamed_errors,
            'def f():\n    """Do it."""\n    try:\n        raise Lost\n    except Lost:\n        pass',
            [],
        ),
        (unnamed_errors, 'def _f():\n    """Do it."""\n    raise ValueError("no")', []),
        (shapeless_arrays, 'def f(rows: FloatArray) -> int:\n    """Count them."""', [1]),
        (shapeless_arrays, 'def f() -> NDArray[np.int64]:\n    """Return the rows."""', [1]),
        (shapeless_arrays, 'def f(rows: FloatArray) -> int:\n    """Count the values of [rows, columns]."""', []),
        (shapeless_arrays, 'def f(rows: list[float]) -> int:\n    """Count them."""', []),
    ],
)
def test_each_rule_finds_what_breaks_it(rule: Rule, source: str, lines: list[int]) -> None:
    assert [finding.line for finding in rule(ast.parse(source))] == lines
