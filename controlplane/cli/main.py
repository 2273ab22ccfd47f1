"""The program `controlplane`, which is also `cp`: verbs assembled, errors turned into one sentence and an exit code."""

from __future__ import annotations

import errno
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from controlplane.cli import local, look, rules, steer, tokens, watch
from controlplane.cli.errors import CliError
from controlplane.cli.render import say
from controlplane.errors import ConfigError, ConfigErrors, ControlPlaneError, NotFound, Unavailable


def build() -> typer.Typer:
    """Return the command tree."""
    app = typer.Typer(
        name="controlplane",
        help="Watch an LLM fleet, say what is wrong, and switch model versions without dropping a request.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for verb in (look.status, look.targets, look.models, look.query, steer.promote, steer.rollback):
        app.command()(verb)
    app.add_typer(steer.rollouts, name="rollouts")
    app.add_typer(watch.alerts, name="alerts")
    app.add_typer(watch.notifiers, name="notifiers")
    app.add_typer(tokens.token, name="token")
    app.command()(local.up)
    app.command()(local.check)
    app.command("nvml-exporter")(local.nvml_exporter)
    app.add_typer(rules.rules, name="rules")
    app.add_typer(local.catalogue, name="catalogue")
    app.add_typer(local.dashboards, name="dashboards")
    app.add_typer(local.demo, name="demo")
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"controlplane {version('llm-controlplane')}")
        raise typer.Exit


def _root(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and stop."),
    ] = False,
) -> None:
    """Watch an LLM fleet, say what is wrong, and switch model versions without dropping a request."""


def main() -> None:
    """Run a verb: 0 done, 1 failed or verdict negative, 2 wrong usage, 3 no control plane reached."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a verb and return its exit code; errors are sentences on stderr, never tracebacks."""
    try:
        build()(arguments)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
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
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        return _fail(f"the output could not be written: {error.strerror}", 1)
    except KeyError as error:
        # Only answers of the control plane are read by key.
        return _fail(f"the control plane's answer lacks {error}: it is of another version than this program", 1)
    return 0


def _fail(message: str, code: int, reasons: tuple[str, ...] = ()) -> int:
    for number, line in enumerate(message.splitlines() or [""]):
        say(f"{'controlplane: ' if number == 0 else '  '}{line}", sys.stderr)
    for reason in reasons:
        say(f"  {reason}", sys.stderr)
    return code
