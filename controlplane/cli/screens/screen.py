"""A view that is refreshed: in place on a terminal, one after another when piped."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from controlplane.cli.errors import ServerUnreachable
from controlplane.cli.render import is_terminal, terminal_width
from controlplane.cli.table import cells_of
from controlplane.plain_text import plain

_HOME, _CLEAR, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"


class _Frame(io.StringIO):
    """A buffer for one screen. It is written to the terminal at once, so that nothing flickers."""

    def isatty(self) -> bool:
        return True


def repeat(draw: Callable[[], None], interval_s: float, rounds: int | None = None) -> None:
    """Call `draw`, which prints, every `interval_s` seconds until Ctrl-C, or `rounds` times.

    An unreachable control plane is reported on the screen and tried again.
    """
    terminal = is_terminal(sys.stdout)
    number = 0
    try:
        while rounds is None or number < rounds:
            if number:
                time.sleep(interval_s)
            if terminal:
                frame = _Frame()
                with contextlib.redirect_stdout(frame):
                    _draw(draw)
                sys.stdout.write((_CLEAR if not number else "") + framed(frame.getvalue(), _height()))
            else:
                if number:
                    print()
                _draw(draw)
            sys.stdout.flush()
            number += 1
    except KeyboardInterrupt:
        print()


class Footer:
    """Lines below the output that are drawn again in place. What is printed between two drawings scrolls above them.

    Nothing is drawn where the output is no terminal.
    """

    def __init__(self) -> None:
        self._terminal = is_terminal(sys.stdout)
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the lines. A line that is wider than the terminal is cut, because a wrapped line would stay."""
        self.erase()
        if not self._terminal:
            return
        shown = [_cut(plain(line), terminal_width() - 1) for line in lines[: max(_height() - 2, 1)]]
        sys.stdout.write("".join(f"{line}\n" for line in shown))
        sys.stdout.flush()
        self._drawn = len(shown)

    def erase(self) -> None:
        """Remove the lines, so that something can be printed in their place."""
        if self._drawn:
            sys.stdout.write(f"\x1b[{self._drawn}F{_CLEAR_BELOW}")
            self._drawn = 0


def _cut(line: str, width: int) -> str:
    if cells_of(line) <= width:
        return line
    while cells_of(line) > width - 1:
        line = line[:-1]
    return f"{line}…"


def framed(text: str, height: int) -> str:
    """Return `text` with escapes that draw it over the previous frame, cut to `height` lines so that none scrolls."""
    lines = text.splitlines()
    if len(lines) >= height:
        hidden = len(lines) - height + 2
        lines = [*lines[: height - 2], f"… {hidden} more lines; make the terminal larger, or use -o json"]
    return _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW


def _draw(draw: Callable[[], None]) -> None:
    try:
        draw()
    except ServerUnreachable as error:
        print(f"{datetime.now(UTC):%H:%M:%SZ}  {plain(str(error))}; trying again")


def _height() -> int:
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).lines, 4)
    except (OSError, ValueError):
        return 24
