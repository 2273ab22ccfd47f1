"""Verbs that work without a running control plane. They import the parts that they need only when they run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from controlplane.app.logs import LogFormat, LogLevel, set_up_log
from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.options import As, DataDir, Listen
from controlplane.cli.render import Output, columns, emit, say, say_all
from controlplane.config.vocabulary import duration_seconds
from controlplane.errors import ConfigErrors

LogAs = Annotated[LogFormat, typer.Option("--log-format", help="text, or json: one object a line.")]
LogFrom = Annotated[LogLevel, typer.Option("--log-level", help="debug, info, warning or error.")]
Config = Annotated[Path, typer.Option("-c", "--config", help="The fleet.yaml.")]

catalogue = typer.Typer(help="The canonical metrics.", no_args_is_help=True)
dashboards = typer.Typer(help="Grafana dashboards as code.", no_args_is_help=True)
demo = typer.Typer(help="A whole fleet and control plane on this machine.", invoke_without_command=True)


def up(
    config: Config,
    listen: Listen = "127.0.0.1:8080",
    data_dir: DataDir = None,
    observe_only: Annotated[bool, typer.Option("--observe-only", help="Watch and alert, never act.")] = False,
    log_format: LogAs = LogFormat.TEXT,
    log_level: LogFrom = LogLevel.INFO,
) -> None:
    """Run the control plane over a fleet.yaml."""
    from controlplane.app.serve import serve

    set_up_log(log_format, log_level)
    serve(config, listen, data_dir or Path("data"), observe_only)


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="fleet.yaml files.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
) -> None:
    """Validate configuration; every fault at once, with file, line and field."""
    from controlplane.app.check import inspect_file

    faults = warnings = 0
    for file in files:
        try:
            report = inspect_file(file)
        except ConfigErrors as error:
            say_all(str(fault) for fault in error.errors)
            faults += len(error.errors)
            continue
        say_all(str(finding) for finding in report.findings)
        faults += len(report.errors)
        warnings += len(report.warnings)
        if not report.errors:
            say(report.verdict)
    if faults:
        raise WrongUsage(f"faults found: {faults}")
    if warnings and strict:
        raise VerdictNegative(f"warnings found: {warnings}")


def nvml_exporter(
    listen: Listen = "127.0.0.1:9401", log_format: LogAs = LogFormat.TEXT, log_level: LogFrom = LogLevel.INFO
) -> None:
    """Serve this host's GPUs as canonical metrics."""
    from collectors.errors import CollectorError
    from collectors.nvml import serve_exporter

    set_up_log(log_format, log_level)
    try:
        serve_exporter(listen, on_listening=lambda url: say(f"serving this host's GPUs at {url}"))
    except CollectorError as error:
        raise VerdictNegative(str(error)) from error


@catalogue.command("list")
def catalogue_list(output: As = Output.TABLE) -> None:
    """List the canonical metrics and where each engine's numbers come from."""
    from collectors.catalogue import load_catalogue

    known = load_catalogue()
    found = [
        {
            "metric": name,
            "type": metric.type,
            "unit": metric.unit,
            "engines": sorted(
                e for e, engine in known.engines.items() if name in engine.sources or name in engine.native
            ),
            "help": metric.help,
        }
        for name, metric in sorted(known.metrics.items())
    ]
    rows = [[str(m["metric"]), str(m["type"]), str(m["unit"]), " ".join(m["engines"]), str(m["help"])] for m in found]
    emit(found, output, lambda: columns(["METRIC", "TYPE", "UNIT", "ENGINES", ""], rows, "no metrics"))


@catalogue.command("export")
def catalogue_export(
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default standard output.")
    ] = None,
    job: Annotated[
        list[str] | None,
        typer.Option("--job", metavar="ENGINE=REGEX", help="The scrape jobs of an engine; by default named as it is."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME", help="A label of targets that is kept. Repeatable.")
    ] = None,
) -> None:
    """Write Prometheus recording rules that give the canonical metrics, for servers that scrape the engines."""
    from collectors.catalogue import load_catalogue
    from collectors.recording_rules import recording_rules

    known = load_catalogue()
    jobs = dict(_job(text, [n for n, engine in known.engines.items() if engine.sources]) for text in job or [])
    for name in label or []:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            raise WrongUsage(f"--label {name}: expected a label's name such as zone")
    exported = recording_rules(known, jobs, label or [])
    for what, reason in exported.unexpressed:
        say(f"not expressed: {what}: {reason}", sys.stderr)
    if out is None:
        say_all(exported.text.splitlines())
        return
    try:
        out.write_text(exported.text, encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"{out}: cannot be written: {error.strerror}") from error
    say(f"{out}: {exported.rules} recording rules; check them with: promtool check rules {out}")


def _job(text: str, engines: list[str]) -> tuple[str, str]:
    engine, equals, pattern = text.partition("=")
    if not equals or not pattern or engine not in engines:
        raise WrongUsage(f"--job {text}: expected ENGINE=REGEX with one of {', '.join(engines)}")
    return engine, pattern


@dashboards.command("generate")
def dashboards_generate(
    out: Annotated[Path, typer.Option("--out", help="Folder to write the JSON files to.")],
) -> None:
    """Write the Grafana dashboards as JSON."""
    from dashboards.generate import write_dashboards

    try:
        written = write_dashboards(out)
    except OSError as error:
        raise WrongUsage(f"{out}: cannot be written: {error.strerror}") from error
    for path in written:
        say(str(path))


@demo.callback()
def demo_run(
    context: typer.Context,
    listen: Listen = "127.0.0.1:8080",
    data_dir: DataDir = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="Stop by itself after this long, such as 5m.")
    ] = None,
) -> None:
    """Start a real Triton, simulated vLLM servers and GPUs, load, and the control plane over them."""
    if context.invoked_subcommand is not None:
        return
    from controlplane.demo.supervise import run_demo

    try:
        seconds = duration_seconds(duration) if duration else None
    except ValueError as error:
        raise WrongUsage(f"--duration: {error}") from error
    code = run_demo(listen, data_dir, seconds)
    if code:
        raise typer.Exit(code)


@demo.command("fault")
def demo_fault(
    name: Annotated[str, typer.Argument(metavar="NAME", help="slow-v2, errors, down-v2, gpu-hot, vram-full or clear")],
) -> None:
    """Break something in the running demo, or `clear` it."""
    from controlplane.demo.client import fault

    say(fault(name))


@demo.command("load")
def demo_load(output: As = Output.TABLE) -> None:
    """Show what the demo's load generator counted."""
    from controlplane.demo.client import load_lines, load_stats

    stats = load_stats()
    emit(stats, output, lambda: say_all(load_lines(stats)))
