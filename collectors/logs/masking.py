"""Lines of logs without what must not be shown: prompts and answers, keys, tokens, passwords, e-mail addresses.

Masking is a second fence: only lines that tell an event are shown, and none of those is known to hold a prompt. A mask
errs towards hiding.
"""

from __future__ import annotations

import re

MASK = "***"
SHOWN = 500
"""Most characters of a line that are shown."""

_FIELDS = "prompt|prompts|messages|content|input|inputs|text|output|completion|prompt_token_ids|input_ids|tool_calls"
_KEYS = "api[_-]?key|apikey|token|access[_-]?token|secret|password|passwd|authorization|hf[_-]?token"
_TEXT = re.compile(rf"""(?i)(["']?\b(?:{_FIELDS})\b\\?["']?\s*[:=]\s*)(?=\S)(?!\*\*\*).*""", re.DOTALL)
"""A field with a text of users. All that follows goes with it: quotes and brackets within it cannot be trusted."""
_NAMED = re.compile(
    rf"""(?i)(\b(?:{_KEYS})\b\\?["']?\s*[:=]\s*)"""
    r"""(?:(?:bearer|basic)\s+)?(?:\\?"[^"]*"|\\?'[^']*'|[^\s,;&})\]"']+)"""
)
_TOKENS = (
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}"),  # OpenAI, Anthropic and the many that copy their form
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"),
    re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{8,}"),
    re.compile(r"\bnvapi-[A-Za-z0-9_-]{8,}"),
    re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"),
    re.compile(r"\bcp_[A-Za-z0-9]+_[A-Za-z0-9_-]{8,}"),  # tokens of the control plane
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),  # JWT
)
_AWS_SECRET = re.compile(r"(?i)(aws_secret_access_key\W{1,4})[A-Za-z0-9/+]{20,}")
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@]+@")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


def masked(line: str, most: int = SHOWN) -> str:
    """Return a line fit to be shown: masked, without control characters, and at most `most` characters."""
    text = line[: 4 * most]
    text = _NAMED.sub(rf"\1{MASK}", _AWS_SECRET.sub(rf"\1{MASK}", text))
    for token in _TOKENS:
        text = token.sub(MASK, text)
    text = _EMAIL.sub(MASK, _USERINFO.sub(rf"\1{MASK}@", text))
    text = _TEXT.sub(rf"\1{MASK}", text)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else text[:most] + "…"
