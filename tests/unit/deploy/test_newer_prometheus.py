"""The script that unpacks a newer Prometheus, over an apt and a dpkg that can misbehave."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import PROCESS_S

SCRIPT = Path(__file__).parents[3] / "deploy" / "newer-prometheus.sh"

APT = r"""
echo "apt-get $*" >>"$LOG"
case "$*" in
  indextargets*) printf '%s\n' 'http://other/debian-security other-security' "http://mirror/debian $SUITE" ;;
  *update*) cp "$(sed -n 's/.*Dir::Etc::sourcelist=\([^ ]*\).*/\1/p' <<<"$*")" "$LOG.sources"; [[ -z ${NO_LISTS:-} ]] ;;
  *download*) [[ -z ${NO_PACKAGES:-} ]] || { echo 'E: 404' >&2; exit 1; }; touch prometheus.deb promtool.deb ;;
esac
"""
DPKG = r"""
echo "dpkg $*" >>"$LOG"
name=$(basename "$2" .deb)
mkdir -p "$3/usr/bin"
printf '#!/bin/sh\n[ -z "$BROKEN" ] && echo "%s, version 3.5.3"\n' "$name" >"$3/usr/bin/$name"
chmod +x "$3/usr/bin/$name"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    (tmp_path / "bin").mkdir()
    for name, body in (("apt-get", APT), ("dpkg", DPKG)):
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def run(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    path = f"{checkout}/bin{os.pathsep}{os.environ['PATH']}"
    suite = release.get("VERSION_CODENAME", "").strip('"')
    env = {**os.environ, "PATH": path, "LOG": str(checkout / "log"), "SUITE": suite, "TMPDIR": str(checkout)}
    command = [str(checkout / "deploy" / SCRIPT.name)]
    return subprocess.run(command, env=env | environment, capture_output=True, text=True, timeout=PROCESS_S)


def test_it_unpacks_both_from_the_mirror_of_this_machine_and_installs_nothing(checkout: Path) -> None:
    told = run(checkout)
    assert (told.returncode, told.stdout) == (0, "prometheus, version 3.5.3\n"), told.stderr
    assert {p.name for p in (checkout / ".cache/prometheus/usr/bin").iterdir()} == {"prometheus", "promtool"}
    sources = (checkout / "log.sources").read_text()
    assert "URIs: http://mirror/debian\nSuites: unstable\nComponents: main\n" in sources
    log = (checkout / "log").read_text()
    assert " install " not in log and "dpkg -i" not in log
    # Every call that writes writes in the script's own folder, which is gone.
    for call in (line for line in log.splitlines() if "update" in line or "download" in line):
        assert f"Dir::State={checkout}/" in call and f"Dir::Cache={checkout}/" in call
    assert sorted(p.name for p in checkout.iterdir()) == [".cache", "bin", "deploy", "log", "log.sources"]


def test_what_is_there_is_not_fetched_again(checkout: Path) -> None:
    run(checkout)
    (checkout / "log").unlink()
    told = run(checkout)
    assert (told.returncode, told.stdout) == (0, "prometheus, version 3.5.3\n")
    assert not (checkout / "log").exists()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"SUITE": "elsewhere"}, "apt has no mirror of "),
        ({"NO_LISTS": "1"}, "http://mirror/debian has no list of unstable"),
        ({"NO_PACKAGES": "1"}, "the packages cannot be fetched from http://mirror/debian: E: 404"),
        ({"BROKEN": "1"}, "unstable's Prometheus does not run on this machine"),
    ],
)
def test_what_cannot_be_had_is_said_and_nothing_is_left(
    checkout: Path, environment: dict[str, str], reason: str
) -> None:
    told = run(checkout, **environment)
    assert told.returncode == 1
    assert told.stderr.startswith(f"newer-prometheus: {reason}")
    assert not (checkout / ".cache").exists()
