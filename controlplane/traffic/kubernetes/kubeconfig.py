"""Kubeconfig files as settings of a client, and nothing of their contents in a message: they hold secrets.

The `kubernetes` package reads the files. It logs the fault of a program that makes credentials and goes on without any,
and it leaves a program that hangs behind; so such a program is run here. This module needs that package at import.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.kube_config import (
    ENV_KUBECONFIG_PATH_SEPARATOR,
    FileOrData,
    KubeConfigLoader,
    KubeConfigMerger,
)

from collectors.overrun import overrun
from controlplane.traffic import child
from controlplane.traffic.kubernetes.resource import text_at, value_at
from controlplane.traffic.words import told

_ITEMS = ("clusters", "contexts", "users")


class NoAccountError(ValueError):
    """A kubeconfig gives no account. The message says why, and the cure."""


async def load(paths: str, context: str | None, settings: Configuration, timeout_s: float) -> None:
    """Read the account of a context into `settings`. None: the current context. Raises NoAccountError.

    `paths` is one or more files, as in KUBECONFIG. `timeout_s` is the deadline of a program that makes credentials.
    """
    try:
        loader = _Loader(paths, context, timeout_s)
        async with overrun(timeout_s, 1.0):  # a program has its own deadline, and a message that names it
            await loader.load_and_set(settings)  # type: ignore[no-untyped-call]
    except NoAccountError:
        raise
    except TimeoutError as error:
        raise NoAccountError(f"its credentials did not come within {timeout_s:g} s") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise NoAccountError(f"it is no YAML{line}; write it as `kubectl config view --raw` shows it") from error
    except (ConfigException, OSError) as error:
        raise NoAccountError(told(str(error))) from error
    except Exception as error:  # the package raises what Python raises for a value of an unexpected type
        what = type(error).__name__
        raise NoAccountError(f"its contents are not those of a kubeconfig ({what}); try kubectl with it") from error
    if loader.names_user and not (settings.api_key or settings.cert_file):
        raise NoAccountError(
            "its user has no credentials that are known here: a token, a certificate, a password, or a program (exec)"
        )


class _Loader(KubeConfigLoader):
    """The package's loader with its own way to run a program that makes credentials."""

    def __init__(self, paths: str, context: str | None, timeout_s: float) -> None:
        files = [Path(path).expanduser() for path in paths.split(ENV_KUBECONFIG_PATH_SEPARATOR) if path]
        if not any(file.exists() for file in files):
            raise NoAccountError("there is no such file; name one under kubeconfig:, or set KUBECONFIG")
        merged: Any = KubeConfigMerger(paths).config  # type: ignore[no-untyped-call]
        for item in _ITEMS:
            for node in merged.value[item]:
                node.name = f"{node.path}/{item}"  # the package's own name has the whole user, with its token
        super().__init__(merged, context, config_base_path=None)  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s

    @property
    def names_user(self) -> bool:
        """Whether the context has a user with any fields."""
        return bool(self._user)

    async def load_from_exec_plugin(self) -> bool:
        """Run the user's program, and take its token or certificate. Raises NoAccountError."""
        provider = ExecProvider(self._user["exec"])  # type: ignore[no-untyped-call,index]
        program = f"its program {Path(provider.args[0]).name}"
        asked = {"apiVersion": provider.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**provider.env, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
        done = await child.run(provider.args, timeout_s=self._timeout_s, environment=environment)
        if done.code is None:
            raise NoAccountError(f"{program} made no credentials: {told(done.fault)}")
        if done.code != 0:
            words = told(done.error) or "it wrote no reason"
            raise NoAccountError(f"{program} made no credentials: it ended with status {done.code}: {words}")
        status = _status(done.output)
        if token := text_at(status, "token"):
            self.token = f"Bearer {token}"
        elif text_at(status, "clientCertificateData") and text_at(status, "clientKeyData"):
            self.cert_file, self.key_file = (_file(status, f"client{part}Data") for part in ("Certificate", "Key"))
        else:
            raise NoAccountError(f"{program} wrote neither a token nor a certificate with its key")
        return True


def _status(output: bytes) -> Any:
    """Return the status of an ExecCredential. None: the output is none."""
    try:
        return value_at(json.loads(output), "status")
    except (ValueError, RecursionError):
        return None


def _file(status: Any, field: str) -> str:
    """Return a file with a field's text: the TLS library reads certificates from files only."""
    kept = FileOrData(status, os.devnull, field, base64_file_content=False)  # type: ignore[no-untyped-call]
    return str(kept.as_file())  # type: ignore[no-untyped-call]
