"""The image: its steps are replayed with only the copied files, and the resulting program runs."""

from __future__ import annotations

import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.image.containerfile import RUNS, Ignore, Replay, Stage, exec_form, read_steps

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The image, built once. The files that git ignores are not in its context, so they cannot help."""
    context = tmp_path_factory.mktemp("context")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_bytes((ROOT / name).read_bytes())
            (context / name).chmod((ROOT / name).stat().st_mode)
    return Replay(context / "deploy" / "Containerfile", context, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def image(replay: Replay) -> Stage:
    """The last stage, with the example as its fleet.yaml."""
    stage = replay.stages[""]
    (stage.root / "etc/controlplane").mkdir()
    (stage.root / "etc/controlplane/fleet.yaml").write_bytes((ROOT / "examples/fleet.yaml").read_bytes())
    return stage


pytestmark = pytest.mark.timeout(900)
needs_namespaces = pytest.mark.needs("namespaces")


@needs_namespaces
def test_the_wheel_holds_all_that_a_running_control_plane_reads(replay: Replay) -> None:
    (wheel,) = (replay.stages["build"].root / "src/dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    made = {"node_modules", "__pycache__", "vendor"}
    packages = [ROOT / name for name in ("controlplane", "collectors", "promql", "alerts", "dashboards")]
    files = [path for package in packages for path in package.rglob("*") if path.is_file() and not made & {*path.parts}]
    here = {str(path.relative_to(ROOT)) for path in files}
    assert here <= names, sorted(here - names)
    assert "controlplane/config/fleet-yaml.md" in names
    assert {f"controlplane/web/runbooks/{page.name}" for page in (ROOT / "docs/runbooks").glob("*.md")} <= names
    vendor = {"htmx.min.js", "idiomorph-ext.min.js", "uPlot.iife.min.js", "uPlot.min.css"}
    assert {f"controlplane/web/static/vendor/{name}" for name in vendor} <= names
    assert not [name for name in names if "node_modules" in name or name.startswith(("tests/", "docs/"))]
    assert [name for name in names if name.endswith(".data/scripts/cp")]


@needs_namespaces
def test_the_image_runs_as_its_user_and_knows_its_version(image: Stage) -> None:
    done = image.run(["controlplane", "--version"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("controlplane ")
    assert image.user == "10001"
    written = image.run(["/bin/sh", "-c", "touch /opt/controlplane/x; touch here; id -u"])
    assert written.stdout == "10001\n"
    assert "/opt/controlplane/x" in written.stderr
    assert (image.root / "var/lib/controlplane/here").stat().st_uid == 10001


@needs_namespaces
def test_the_image_takes_the_example(image: Stage) -> None:
    done = image.run(["controlplane", "check", "/etc/controlplane/fleet.yaml"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "good: 12 targets, 2 models, " in done.stdout.splitlines()[-1]


@needs_namespaces
def test_the_image_has_the_optional_parts_that_its_documents_promise(image: Stage) -> None:
    done = image.run(["python", "-c", "import grpc, psycopg, uvloop; print(psycopg.pq.__impl__)"])
    assert (done.returncode, done.stdout) == (0, "binary\n"), done.stderr


TOKEN = "cp_0123456789ab_" + 64 * "c"
ASK = f"""\
import json, urllib.request
for path in ("/runbooks/GPULost.md", "/static/vendor/htmx.min.js", "/cp/v1/models"):
    asked = urllib.request.Request("http://127.0.0.1:8080" + path, headers={{"Authorization": "Bearer {TOKEN}"}})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        print(path, answer.status, len(answer.read()) > 100)
"""


@needs_namespaces
def test_the_image_serves_and_its_health_check_passes(image: Stage) -> None:
    """ENTRYPOINT, CMD and HEALTHCHECK run as written, with a separate network."""
    serve = shlex.join([*exec_form(image.runs["ENTRYPOINT"]), *exec_form(image.runs["CMD"])])
    healthy = shlex.join(exec_form(image.runs["HEALTHCHECK"]))
    script = f"""
    CP_BOOTSTRAP_TOKEN={TOKEN} {serve} >log 2>&1 & served=$!
    n=0; until {healthy} 2>/dev/null || [ $n = 200 ]; do n=$((n+1)); sleep 0.2; done
    {shlex.join(["python", "-c", ASK])}
    kill $served; wait $served; echo "ended with $?"; cat log
    """
    done = image.run(["/bin/sh", "-c", script], network=False)
    out = done.stdout + done.stderr
    paths = ("/runbooks/GPULost.md", "/static/vendor/htmx.min.js", "/cp/v1/models")
    assert done.stdout.splitlines()[:4] == [*(f"{path} 200 True" for path in paths), "ended with 0"], out
    assert "listening on 0.0.0.0:8080" in out
    assert (image.root / "var/lib/controlplane/controlplane.db").stat().st_uid == 10001


def test_every_step_of_the_containerfile_is_one_that_is_replayed_or_says_how_it_runs() -> None:
    words = {step.word for step in read_steps(CONTAINERFILE.read_text(encoding="utf-8"))}
    assert words == {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", *RUNS}


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("controlplane/app/check.py", False),
        ("controlplane/app/__pycache__/check.pyc", True),
        ("controlplane/web/node_modules/x/y.js", True),
        ("controlplane/web/static/vendor/htmx.min.js", True),
        ("docs/runbooks/GPULost.md", False),
        ("docs/guide/running.md", True),
        ("requirements/image.lock", False),
        ("requirements/dev.lock", True),
        ("tests/conftest.py", True),
        ("deploy/fleet.yaml", True),
        (".git/config", True),
    ],
)
def test_the_context_lets_in_what_the_image_needs_and_nothing_else(path: str, left_out: bool) -> None:
    assert Ignore(CONTAINERFILE.with_name("Containerfile.dockerignore").read_text("utf-8")).ignores(path) == left_out
