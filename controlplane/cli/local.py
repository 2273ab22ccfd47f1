"""Verbs that work without a running control plane. Each imports its modules only when it runs."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import columns, counted, emit, say, say_all
from controlplane.cli.starting import imports
from controlplane.errors import ConfigErrors


def up(config: Path, listen: str, data_dir: Path | None, observe_only: bool, log_format: str, log_level: str) -> None:
    """Run the control plane for a fleet.yaml."""
    # The file is checked before the slow import of the server, so that its errors appear at once.
    with imports():
        from controlplane.app.check import accepted

        loaded, warnings = accepted(config)
        from controlplane.app.serve import serve

    _set_up_log(log_format, log_level)
    serve(loaded, warnings, listen, data_dir or Path("data"), observe_only)


def _set_up_log(form: str, level: str) -> None:
    from controlplane.app.logs import LogFormat, LogLevel, set_up_log

    set_up_log(LogFormat(form), LogLevel(level))


def check(files: list[Path], strict: bool, gates: bool) -> None:
    """Validate fleet.yaml files and print every fault with file, line and field; with `gates`, also rollouts' gates.

    Raises WrongUsage for faults. Raises VerdictNegative for warnings when `strict` is set.
    """
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
            if gates:
                from controlplane.app.checks.gates import gates_of

                say_all(gates_of(report.loaded, time.time()))
    if faults:
        raise WrongUsage(f"faults found: {faults}")
    if warnings and strict:
        raise VerdictNegative(f"warnings found: {warnings}")


def nvml_exporter(listen: str, log_format: str, log_level: str) -> None:
    """Serve this host's GPUs as canonical metrics. Raises VerdictNegative when the exporter cannot run."""
    from collectors.errors import CollectorError
    from collectors.gpu.nvml.exporter import serve_exporter

    _set_up_log(log_format, log_level)
    try:
        serve_exporter(listen, on_listening=lambda url: say(f"serving this host's GPUs at {url}"))
    except CollectorError as error:
        raise VerdictNegative(str(error)) from error


def log_exporter(
    config: str | None,
    engine: str | None,
    file: list[str] | None,
    journald: str | None,
    docker: str | None,
    model: str | None,
    instance: str | None,
    check: bool,
    listen: str,
    log_format: str,
    log_level: str,
) -> None:
    """Serve the counts of faults in engines' logs.

    Raises WrongUsage for options that do not fit together, ConfigErrors for faults in them or in the file, and
    VerdictNegative when the exporter cannot run.
    """
    from collectors.errors import CollectorError
    from collectors.logs.exporter import serve_logs
    from controlplane.config.scraping.logs import load_logs, logs_of
    from controlplane.whole_file import write_whole

    fields = {"engine": engine, "files": file, "journald": journald, "docker": docker}
    given = {
        name: value for name, value in {**fields, "model": model, "instance": instance}.items() if value is not None
    }
    if bool(config) == bool(given):
        raise WrongUsage("expected either -c logs.yaml, or --engine with one of --file, --journald and --docker")
    logs, ship, state = load_logs(Path(config)) if config else logs_of(given)
    if check:
        say_all(f"{log.name}: {log.engine}" for log in logs)
        say_all(f"{one.name}: {'all lines' if one.everything else 'events'} to {one.kind}" for one in ship)
        return
    _set_up_log(log_format, log_level)
    try:
        serve_logs(
            logs,
            listen,
            on_listening=lambda url: say(f"serving the faults of {counted(len(logs), 'log')} at {url}"),
            ship=ship,
            state=state,
            write=write_whole,
        )
    except CollectorError as error:
        raise VerdictNegative(str(error)) from error


def catalogue_list(output: str) -> None:
    """List the canonical metrics and the engines that provide each."""
    from collectors.catalogue.model import load_catalogue

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


def catalogue_export(output: Path | None, job: list[str] | None, label: list[str] | None) -> None:
    """Write Prometheus recording rules that compute the canonical metrics from the engines' own.

    Raises WrongUsage for a wrong --job or --label, or a file that cannot be written.
    """
    from collectors.catalogue.model import load_catalogue
    from collectors.catalogue.recording_rules import recording_rules

    known = load_catalogue()
    jobs = dict(_job(text, [n for n, engine in known.engines.items() if engine.sources]) for text in job or [])
    for name in label or []:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            raise WrongUsage(f"--label {name}: expected a label's name such as zone")
    exported = recording_rules(known, jobs, label or [])
    for what, reason in exported.unexpressed:
        say(f"not expressed: {what}: {reason}", sys.stderr)
    if output is None:
        say_all(exported.text.splitlines())
        return
    try:
        output.write_text(exported.text, encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"{output}: cannot be written: {error.strerror}") from error
    say(f"{output}: {exported.rules} recording rules; check them with: promtool check rules {output}")


def _job(text: str, engines: list[str]) -> tuple[str, str]:
    engine, equals, pattern = text.partition("=")
    if not equals or not pattern or engine not in engines:
        raise WrongUsage(f"--job {text}: expected ENGINE=REGEX with one of {', '.join(engines)}")
    return engine, pattern


def demo_run(listen: str, data_dir: Path | None, duration: str | None) -> int:
    """Start the demo: a real Triton, simulated vLLM servers and GPUs, a load generator, and the control plane.

    Raises WrongUsage for a wrong --duration.
    """
    from controlplane.config.durations import duration_seconds
    from controlplane.demo.supervise import run_demo

    try:
        seconds = duration_seconds(duration) if duration else None
    except ValueError as error:
        raise WrongUsage(f"--duration: {error}") from error
    return run_demo(listen, data_dir, seconds)


def demo_fault(name: str) -> None:
    """Cause a fault in the running demo, or `clear` all faults."""
    from controlplane.demo.client import fault

    say(fault(name))


def demo_load(output: str) -> None:
    """Print the counts of the demo's load generator."""
    from controlplane.demo.client import load_lines, load_stats

    stats = load_stats()
    emit(stats, output, lambda: say_all(load_lines(stats)))
