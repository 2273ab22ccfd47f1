"""A refusal: the gateway's own answer instead of an engine's, before a dialect gives it the protocol's shape."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RefusalKind(Enum):
    """The reason: its word in logs and metrics, its HTTP status, and whether the same request may succeed later."""

    MALFORMED = "malformed", 400, False
    UNAUTHENTICATED = "unauthenticated", 401, False
    FORBIDDEN = "forbidden", 403, False
    UNKNOWN_MODEL = "unknown_model", 404, False
    UNKNOWN_PATH = "unknown_path", 404, False
    BAD_METHOD = "bad_method", 405, False
    TOO_SLOW = "too_slow", 408, True
    TOO_LARGE = "too_large", 413, False
    HEAD_TOO_LARGE = "head_too_large", 431, False
    RATE_LIMITED = "rate_limited", 429, True
    """A limit of requests, tokens or concurrency, of key, tenant or model."""
    BUDGET_SPENT = "budget_spent", 429, False
    """A daily or monthly budget: a retry helps only in the next period."""
    OVERLOADED = "overloaded", 429, True
    """The queue is full, or the request waited too long in it, while engines answer."""
    NO_CAPACITY = "no_capacity", 503, True
    """No backend of the version can be used now."""
    STOPPING = "stopping", 503, True
    UPSTREAM_FAILED = "upstream_failed", 502, True
    """The engine could not be reached, or answered no HTTP, or broke off before the first event."""
    UPSTREAM_TIMEOUT = "upstream_timeout", 504, False
    """The engine sent nothing in time. It may have generated an answer, so a retry may pay twice."""
    BROKEN = "broken", 500, False
    """A fault of the gateway."""

    @property
    def word(self) -> str:
        """The kind in logs, metrics and the default of `code`."""
        return self.value[0]

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.value[1]

    @property
    def retry(self) -> bool:
        """Whether the same request may succeed later: `x-should-retry`."""
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal. `message` names the thing, the place and the cure, and is fit for the client."""

    kind: RefusalKind
    message: str
    param: str = ""
    """The field of the request that is wrong, such as `model`; "" for none."""
    code: str = ""
    """A word for programs, such as `model_not_found` or `rate_limit_exceeded`; "" for the kind's default."""
    retry_after_s: float | None = None
    """Seconds after which a retry may succeed. None: not known."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Further header fields, such as `x-ratelimit-*`."""
    detail: str = ""
    """Words of the engine for the gateway's log. No client gets them."""
    dialect: str = ""
    """Dialect of the path's clients, where no operation was recognised: the answer's shape. "": OpenAI's."""
