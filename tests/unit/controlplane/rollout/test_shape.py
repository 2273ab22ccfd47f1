"""Documents as dataclasses, also when many threads read the first one at once."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import controlplane
from alerts.errors import NotReadable
from controlplane.rollout.stored.shape import Shape
from tests.patience import PROCESS_S

PACKAGE = Path(controlplane.__file__).parent
FIRST_READS = """
import sys, threading
from controlplane.rollout.stored.records import _OPTIONS, _WAIT, _WORK
from controlplane.rollout.running.kept import _FINDING

sys.setswitchinterval(1e-6)
work = {"work": {"kind": "look", "step": 1}, "since": 1.0}
for shape, document in ((_OPTIONS, {}), (_FINDING, {"outcome": "pass", "reasons": []}), (_WAIT, None), (_WORK, work)):
    gate = threading.Barrier(16)

    def read():
        gate.wait()
        shape.read(document)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("read")
"""


@dataclass(frozen=True)
class Leaf:
    size: float


@dataclass(frozen=True)
class Tree:
    name: str
    leaves: tuple[Leaf, ...] = ()


TREE: Shape[Tree] = Shape(Tree, "tree")


def test_a_document_is_read_with_its_values_typed() -> None:
    assert TREE.read({"name": "t", "leaves": [{"size": 2}]}) == Tree("t", (Leaf(2.0),))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"name": 1}, "tree: Expected `str`, got `int`"),
        ({"name": "t", "leaves": [{"size": "2"}]}, r"tree: Expected `float`, got `str` - at `\$.leaves\[0\].size`"),
        ({"name": "t", "colour": "red"}, "tree: this release does not know colour"),
        ({"name": "t", "leaves": [{"size": 2, "colour": "red"}]}, "tree: this release does not know colour"),
    ],
)
def test_a_document_of_another_shape_is_refused(document: object, words: str) -> None:
    with pytest.raises(NotReadable, match=words):
        TREE.read(document)


def test_threads_that_read_the_first_documents_at_once_do_not_crash_the_process() -> None:
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", FIRST_READS], capture_output=True, text=True, timeout=PROCESS_S)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "read\n", "")


def conversions(folder: Path) -> Iterator[str]:
    """Yield each place where msgspec may meet a class for the first time outside of an import."""
    for file in sorted(folder.rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "msgspec.convert",
                    "msgspec.json.decode",
                    "msgspec.json.Decoder",
                    "msgspec.msgpack.decode",
                    "Shape",
                ):
                    yield f"{file.relative_to(folder)}:{getattr(function, 'name', 'lambda')}"


def test_msgspec_meets_every_class_at_import() -> None:
    shape = "rollout/stored/shape.py"
    known = ["gateway/dialects/asking/json_body.py:_decoder", f"{shape}:__init__", f"{shape}:read"]
    assert list(conversions(PACKAGE)) == known
