"""Replays a Containerfile without a container engine: its steps run in a root that holds only the copied files.

The machine replaces the base image: its programs and its Python are visible read-only. All other paths of a stage are a
separate folder. Replayed are ARG, FROM, ENV, WORKDIR, COPY, RUN and USER; the other instructions describe how the image
is run. The replay needs root and mount namespaces.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

BASE = Path(sys.base_prefix).resolve()
"""Folder of the Python that replaces that of the base image."""
STEP_S = 600
RUNS = ("ENTRYPOINT", "CMD", "HEALTHCHECK", "EXPOSE", "VOLUME")
"""Instructions that describe how an image is run."""


class Step(NamedTuple):
    """One instruction and its arguments."""

    word: str
    rest: str


def read_steps(text: str) -> Iterator[Step]:
    """Yield the instructions of a Containerfile, with continued lines joined and without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Step(word.upper(), rest.strip())


class Ignore:
    """A .dockerignore. The last pattern that matches a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        self._rules = [
            (not line.startswith("!"), _pattern(line.removeprefix("!").strip("/")))
            for line in lines
            if line and not line.startswith("#")
        ]

    def ignores(self, path: str) -> bool:
        """Return whether a path of the context is excluded."""
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        ignored = False
        for excludes, pattern in self._rules:
            if any(pattern.fullmatch(each) for each in above):
                ignored = excludes
        return ignored


def _pattern(text: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", text)
    return re.compile("".join(parts.get(part) or re.escape(part) for part in found))


@dataclass
class Stage:
    """One stage of a Containerfile: its root and its current settings."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/base/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
    workdir: str = "/"
    user: str = "0"
    runs: dict[str, str] = field(default_factory=dict)

    def run(
        self, command: Sequence[str], *, user: str | None = None, timeout: float = STEP_S, network: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the root. Without `network` it has only its own loopback."""
        return subprocess.run(
            self.command(command, user=user, network=network),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def command(self, command: Sequence[str], *, user: str | None = None, network: bool = True) -> list[str]:
        """Return the command line of `run`, for subprocess."""
        uid = self.user if user is None else user
        inner = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"
        drop = f"exec setpriv --reuid={uid} --regid={uid} --clear-groups --no-new-privs --bounding-set=-all"
        given = shlex.join(f"{name}={value}" for name, value in self._environment().items())
        enter = f"exec chroot {shlex.quote(str(self.root))} /usr/bin/env -i {given} /bin/sh -c"
        body = inner if uid == "0" else f"{drop} /bin/sh -c {shlex.quote(inner)}"
        script = [*self._mounts(), *([] if network else ["ip link set lo up"]), f"{enter} {shlex.quote(body)}"]
        alone = ["--net"] if not network else []
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *alone, "sh", "-ec", "\n".join(script)]

    def _environment(self) -> dict[str, str]:
        clients = ("PIP_", "SSL_", "NODE_", "npm_", "http", "HTTP")
        machine = {name: value for name, value in os.environ.items() if name.startswith(clients)}
        return {**machine, "HOME": "/tmp", **self.env}

    def _mounts(self) -> list[str]:
        root = shlex.quote(str(self.root))
        script = [f"mount --bind -o ro /usr {root}/usr"]
        if not BASE.is_relative_to("/usr"):
            script.append(f"mount --bind -o ro {shlex.quote(str(BASE))} {root}{shlex.quote(str(BASE))}")
        # The image has no npm: what builds the console's parts must bring it along.
        script += [
            f"[ ! -e {root}/usr/bin/{name} ] || mount --bind /dev/null {root}/usr/bin/{name}"
            for name in ("npm", "node")
        ]
        return [*script, f"mount --bind /dev {root}/dev", f"mount -t proc proc {root}/proc"]


class Replay:
    """The executed stages of a Containerfile. `stages` has them by name, the last one as ``."""

    def __init__(self, containerfile: Path, context: Path, folder: Path) -> None:
        self._context, self._folder = context, folder
        self._ignore = Ignore(containerfile.with_name(f"{containerfile.name}.dockerignore").read_text("utf-8"))
        self.stages: dict[str, Stage] = {}
        self.output: list[str] = []
        arguments: dict[str, str] = {}
        stage: Stage | None = None
        for word, rest in read_steps(containerfile.read_text("utf-8")):
            if word == "ARG" and stage is None:
                name, _, default = rest.partition("=")
                arguments[name] = default
            elif word == "FROM":
                image, _, name = rest.partition(" AS ")
                assert _filled(image, arguments), rest
                stage = self.stages[name] = self._base(name or "last")
            else:
                assert stage is not None, (word, rest)
                self._step(stage, word, rest)

    def _base(self, name: str) -> Stage:
        root = self._folder / name
        for made in ("usr", "dev", "proc", "tmp", "root", "opt", "var/lib", "run"):
            (root / made).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        if not BASE.is_relative_to("/usr"):
            (root / BASE.relative_to("/")).mkdir(parents=True)
        (root / "base/bin").mkdir(parents=True)
        (root / "base/bin/python").symlink_to(BASE / "bin" / f"python3.{sys.version_info.minor}")
        for link in ("bin", "sbin", "lib", "lib64"):
            if Path("/", link).is_symlink():
                (root / link).symlink_to(f"usr/{link}")
        shutil.copytree("/etc", root / "etc", symlinks=True)
        return Stage(root)

    def _step(self, stage: Stage, word: str, rest: str) -> None:
        if word == "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                stage.env[name] = _filled(value, stage.env)
        elif word == "WORKDIR":
            stage.workdir = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        elif word == "COPY":
            self._copy(stage, shlex.split(rest))
        elif word == "RUN":
            done = stage.run(["/bin/sh", "-c", rest])
            self.output.append(done.stdout + done.stderr)
            assert done.returncode == 0, f"RUN {rest}\n{self.output[-1]}"
        else:
            assert word in RUNS, f"{word} {rest} is not replayed"
            stage.runs[word] = rest

    def _copy(self, stage: Stage, words: list[str]) -> None:
        into = stage.root / stage.workdir.lstrip("/")
        if words[0].startswith("--from="):
            name, source, target = words[0].removeprefix("--from="), *words[1:]
            shutil.copytree(self.stages[name].root / source.lstrip("/"), stage.root / target.lstrip("/"), symlinks=True)
            return
        *sources, target = words
        for source in sources:
            whole = self._context / source
            several = len(sources) > 1 or target.endswith("/")
            place = into / target / whole.name if whole.is_file() and several else into / target
            for path in sorted(whole.rglob("*")) if whole.is_dir() else [whole]:
                inner = str(path.relative_to(self._context))
                if path.is_file() and not self._ignore.ignores(inner):
                    copy = place / path.relative_to(whole) if whole.is_dir() else place
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, copy)
            assert place.exists(), f"COPY {source}: nothing of it is let into the context"


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), text)


def exec_form(text: str) -> list[str]:
    """Return the words of an instruction in JSON form, without the options before the list."""
    words: list[str] = json.loads(text[text.index("[") :])
    return words
