"""Lines of the log about engines that misbehave: short, without secrets, at most one a minute for each reason."""

from __future__ import annotations

import logging
import re

LONGEST = 200
"""Most characters of an engine's words in the log. Chosen: one sentence."""
EVERY_S = 60.0
"""Interval, in seconds, of two lines about one engine and one reason. Each request to it may fail in the same way."""
_SECRET = re.compile(r"(?=[^\s\"']*[0-9])[^\s\"':,;]{12,}")
"""A word that may be a key: 12 characters or more with a digit. Engines repeat the key that they refuse."""

log = logging.getLogger("controlplane.gateway")


class EngineWords:
    """Logs what engines say, and in which coding."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], float] = {}
        """Monotonic time of the last line, by URL and reason. `keep` bounds it."""

    def log(self, url: str, name: str, why: str, words: str, now: float) -> None:
        """Log an engine's words. `name` is the engine in words, `why` the reason of the failure, such as `http_401`."""
        if self._is_due(url, why, now):
            log.error("the %s at %s failed (%s). It says: %s", name, url, why, redacted(words))

    def unread(self, url: str, name: str, now: float) -> None:
        """Log that an engine compresses an answer with tokens, which the gateway asked it not to do."""
        if self._is_due(url, "unread", now):
            log.warning(
                "the %s at %s compresses its answers, so their errors are not seen and their tokens are estimated; "
                "turn compression off there",
                *(name, url),
            )

    def _is_due(self, url: str, why: str, now: float) -> bool:
        if now - self._said.get((url, why), float("-inf")) < EVERY_S:
            return False
        self._said[url, why] = now
        return True

    def keep(self, urls: set[str]) -> None:
        """Forget other engines."""
        self._said = {place: at for place, at in self._said.items() if place[0] in urls}


def redacted(words: str) -> str:
    """Return an engine's words for the log: one line of printable ASCII, without keys, at most LONGEST characters."""
    # A longer text is cut first: a key at the cut would be too short to be found.
    line = _SECRET.sub("***", " ".join(words[: 4 * LONGEST].split()))
    line = line.encode("ascii", "backslashreplace").decode()
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
