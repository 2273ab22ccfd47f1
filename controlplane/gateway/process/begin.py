"""The first message to a worker: everything that it needs to serve, but for the desired state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from controlplane.config.gateway import GatewaySection
from controlplane.gateway.telemetry.tracing.settings import TraceSettings
from controlplane.gateway.wire.settings import TlsFiles, WireSettings


@dataclass(frozen=True, slots=True)
class Begin:
    """A worker's place among the workers, the files that it has inherited, and its settings."""

    column: int
    memory_fd: int
    sizes: dict[str, int]
    """Areas of the shared memory, in bytes, in their order."""
    sockets: list[int]
    """Files of all listening sockets. The message `serve` names those that this worker accepts on."""
    journal: str
    """Folder of the journals of usage records."""
    journal_bytes: int
    """Largest size of this worker's journal. 0: no journal, since there is no control plane to ship it to."""
    created: int
    """Unix seconds for lists of models, the same in all workers."""
    drain_timeout_s: float
    level: int
    """Lowest level to log."""
    wire: WireSettings = field(default_factory=WireSettings)
    traces: TraceSettings | None = None
    """None: no span is exported."""

    def message(self) -> dict[str, Any]:
        """Return the head of the message."""
        return {"type": "begin", **asdict(self)}

    @classmethod
    def of(cls, head: dict[str, Any]) -> Begin:
        """Read the head of the message."""
        fields = {name: value for name, value in head.items() if name != "type"}
        wire = dict(fields.pop("wire"))
        tls = wire.pop("tls")
        traces = fields.pop("traces")
        return cls(
            **fields,
            wire=WireSettings(**wire, tls=TlsFiles(**tls) if tls else None),
            traces=TraceSettings.read(traces) if traces else None,
        )


def wire_settings(section: GatewaySection) -> WireSettings:
    """Return the settings of the data path from fleet.yaml."""
    tls = section.tls
    return WireSettings(
        max_head_bytes=section.max_head_bytes,
        max_body_bytes=section.max_body_bytes,
        max_connections=section.max_connections,
        head_timeout_s=section.head_timeout,
        body_timeout_s=section.body_timeout,
        idle_timeout_s=section.idle_timeout,
        tls=TlsFiles(str(tls.cert_file), str(tls.key_file), str(tls.client_ca_file) if tls.client_ca_file else None)
        if tls
        else None,
    )
