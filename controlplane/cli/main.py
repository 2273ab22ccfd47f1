"""The program `controlplane`, also called `cp`. It runs one verb; an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import faulthandler
import gc
import os
import sys
from collections.abc import Callable
from typing import Any

from controlplane import __version__
from controlplane.cli.errors import CliError, WrongUsage
from controlplane.cli.render import say, say_all, tell
from controlplane.cli.verbs import help as explained
from controlplane.cli.verbs.grammar import HELP, Verb, hint, parse
from controlplane.cli.verbs.tree import VERBS, first_words, subverbs
from controlplane.errors import ConfigError, ConfigErrors, ControlPlaneError, NotFound, Unavailable

INTERRUPTED = 130
READER_LEFT = 141
"""Exit code when the reader of the output is gone: 128 + SIGPIPE, as shells report it."""
COMPLETE = "__complete"
"""First word of a shell's request for completions; see shells.py."""


def main() -> None:
    """Run a verb: 0 done, 1 failed or verdict negative, 2 wrong usage, 3 no control plane reached."""
    if sys.stderr is not None:
        faulthandler.enable()  # a crash in compiled code says where it was, instead of ending without a word
    code = run(sys.argv[1:])
    gc.freeze()  # Python searches for cycles once more at its exit: half a second of CPU time with a server's modules
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run a verb and return its exit code; errors are sentences on stderr, never tracebacks."""
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except CliError as error:
        return _fail(str(error), error.exit_code, error.reasons)
    except ConfigErrors as error:
        return _fail("\n".join(str(e) for e in error.errors), 2)
    except (ConfigError, NotFound) as error:
        return _fail(str(error), 2)
    except Unavailable as error:
        return _fail(str(error), 3)
    except ControlPlaneError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(_of_the_system(error), 1)
    except KeyError as error:
        # Only answers of the control plane are read by key: no other KeyError can arrive here.
        return _fail(f"the control plane's answer lacks {error}: its version differs from this program's", 1)


def _dispatch(words: list[str]) -> int:
    match words[:1]:
        case [] | ["-h"] | ["--help"] | ["help"]:
            say_all(explained.overview().splitlines())
            return 0 if words else WrongUsage.exit_code
        case ["--version"]:
            say(f"{explained.PROGRAM} {__version__}")
            return 0
        case [word] if word == COMPLETE:
            from controlplane.cli.complete import complete

            complete(words[1:])
            return 0
    verb, rest = find(words)
    if verb is None:
        say_all(explained.of_group(words[0]).splitlines())
        return 0 if rest else WrongUsage.exit_code
    values = parse(verb, rest)
    if HELP.name in values:
        say_all(explained.of_verb(verb).splitlines())
        return 0
    return load(verb)(**values) or 0


def find(words: list[str]) -> tuple[Verb | None, list[str]]:
    """Return the verb that the words begin with and the words after it.

    The verb is None when the words name a group only, such as `rollouts` or `rollouts --help`. Raises WrongUsage for an
    unknown verb.
    """
    first, subs = words[0], subverbs(words[0])
    second = words[1] if len(words) > 1 else ""
    if second in subs:
        return VERBS[f"{first} {second}"], words[2:]
    if first in VERBS:
        return VERBS[first], words[1:]
    if subs:
        if not second or second in HELP.spellings:
            return None, words[1:]
        raise WrongUsage(f"{first} has no verb {second!r}{hint(second, subs)}", (f"it has: {', '.join(subs)}",))
    if first.startswith("-"):
        raise WrongUsage(f"expected a verb before {first}", (f"usage: {explained.PROGRAM} VERB [OPTIONS]",))
    raise WrongUsage(
        f"there is no verb {first!r}{hint(first, first_words())}", (f"{explained.PROGRAM} --help lists all verbs",)
    )


def load(verb: Verb) -> Callable[..., Any]:
    """Import and return the function of a verb. The function returns an exit code, or None for 0."""
    module, _, function = verb.run.partition(":")
    name = f"controlplane.cli.{module}"
    __import__(name)
    found: Callable[..., Any] = getattr(sys.modules[name], function)
    return found


def _of_the_system(error: OSError) -> str:
    """Return the sentence for a file, folder or output that the system refuses. Raises the error if it is another."""
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EIO):
        return f"the output could not be written: {error.strerror}"
    raise error


def _reader_left() -> int:
    """Return READER_LEFT. The output becomes /dev/null: else Python reports the closed pipe once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return READER_LEFT


def _fail(message: str, code: int, reasons: tuple[str, ...] = ()) -> int:
    for number, line in enumerate(message.splitlines() or [""]):
        tell("controlplane: " if number == 0 else "  ", line, sys.stderr)
    for reason in reasons:
        tell("  ", reason, sys.stderr)
    return code
