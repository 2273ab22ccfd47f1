"""The section of the engines' logs: what their lines tell, and whether they can be read."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.board import Section, select
from dashboards.panels import YELLOW, Limit, Lines, Number, Panel, Query, Rows

_ALL = f"{select()}[$__rate_interval]"
_TO = "{{instance}} to {{destination}}"
_WHERE = "node, engine_instance, log, event"


def logs() -> Section:
    """Return the section."""
    return "Logs of the engines", [
        Number(
            title="Logs not readable",
            description="Logs of engines that log-exporter cannot read whole. LLMEngineLogUnread fires for them.",
            queries=[Query(f"count(llm_log_up{select()} == 0) or vector(0)")],
            unit="none",
            limits=[Limit(1, YELLOW)],
            height=8,
        ),
        Lines(
            title="Lines that tell an event, per hour",
            description="Lines of engines' logs such as cuda_out_of_memory or xid, by event. The alerts' pages explain "
            "each event.",
            queries=[
                Query(f"sum by (node, event) (increase(llm_log_events_total{select()}[1h])) > 0", "{{node}} {{event}}")
            ],
            unit="none",
            minimum=0,
            width=8,
        ),
        Rows(
            title="Last lines of events",
            description="The first line of the last fault of each event, masked and shortened, and the time of its "
            "last line. The console has the lines around it.",
            queries=[
                Query(
                    f"1000 * max by ({_WHERE}) (llm_log_last_event_timestamp_seconds{select()}) * on ({_WHERE}) "
                    f"group_right () max by ({_WHERE}, line) (llm_log_line_info{select()})",
                    instant=True,
                )
            ],
            unit="dateTimeFromNow",
            columns=["node", "engine_instance", "event", "line"],
            values=["last"],
            width=12,
        ),
        *_sent(),
    ]


def _sent() -> Sequence[Panel]:
    """Return the panels of lines that are sent on."""
    return [
        Lines(
            title="Lines sent on",
            description="Lines per second that log-exporter sent to each destination, and those that it lost, by "
            "reason. LLMLogLinesDropped fires for them.",
            queries=[
                Query(f"sum by (instance, destination) (rate(log_exporter_shipped_total{_ALL}))", _TO + " sent"),
                Query(
                    f"sum by (instance, destination, reason) (rate(log_exporter_ship_dropped_total{_ALL}))",
                    _TO + " lost: {{reason}}",
                ),
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        Rows(
            title="Destinations that take no lines",
            description="Lines wait for another try. LLMLogShippingFailing fires for each.",
            queries=[Query(f"log_exporter_ship_up{select()} == 0", instant=True)],
            unit="none",
            columns=["job", "instance", "destination"],
            values=["takes lines"],
            width=12,
        ),
    ]
