"""A stand-in for SGLang's kernels (sgl_kernel), which want CUDA's libraries.

Each of their names can be imported, and none can be called: SGLang then uses PyTorch's own operators.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any

NAME = "sgl_kernel"


class Absent:
    """A name of the kernels. Its attributes are further ones."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._name}.{name}")

    def __call__(self, *args: object, **kwargs: object) -> Any:
        raise NotImplementedError(f"{self._name} is not on this machine")


class AbsentModule(types.ModuleType):
    """The kernels, or a module of them."""

    __file__ = "absent"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the kernels and every module of them."""

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        of_kernels = name.partition(".")[0] == NAME
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if of_kernels else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return AbsentModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing."""


sys.meta_path.insert(0, Finder())
