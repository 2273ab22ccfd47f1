"""An account at a named API server, with credentials in files or variables. Prometheus names clusters so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import ScrapeError
from collectors.http.credentials import authorization
from collectors.target import Auth
from controlplane.traffic.driver import NotSent

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration


@dataclass(frozen=True)
class Login:
    """The address of an API server, and the credentials for it. None: the server is asked without any."""

    server: str
    auth: Auth | None = None

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """Return what differs after a change of a file with a secret or a certificate. Blocking."""
        auth = self.auth or Auth()
        files = auth.credentials_file, auth.password_file, auth.ca_file, auth.cert_file, auth.key_file
        return tuple(_stamp(each) for each in files if each)

    def load(self, settings: Configuration) -> None:
        """Put the account into the settings of a client. Blocking. Raises NotSent, without anything secret."""
        settings.host = self.server.rstrip("/")
        if self.auth is None:
            return
        try:
            header = authorization(self.auth)
        except ScrapeError as error:
            raise NotSent(f"the API server {self.server} was not asked: {error}") from error
        if header:
            settings.api_key["BearerToken"] = header
        settings.ssl_ca_cert = self.auth.ca_file
        settings.cert_file, settings.key_file = self.auth.cert_file, self.auth.key_file
        settings.tls_server_name = self.auth.server_name or None
        settings.verify_ssl = not self.auth.insecure_skip_verify


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
