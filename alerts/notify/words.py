"""The words of a card, in English and Chinese. Texts of rules and labels stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Words:
    """Words of one language. Texts with braces are formats of str.format."""

    firing: str = "FIRING"
    resolved: str = "RESOLVED"
    alerts: str = "alerts"
    n_firing: str = "{} firing"
    n_resolved: str = "{} resolved"
    counts: str = "{title} ({counts})"
    comma: str = ", "
    simulated: str = "simulated"
    severity: str = "Severity"
    since: str = "Since"
    fired: str = "Fired"
    firing_count: str = "Firing"
    resolved_count: str = "Resolved"
    switch: str = "Switch"
    sent_here: str = "Sent here because"
    console: str = "Console"
    runbook: str = "Runbook"
    message: str = "message {}"
    edited: str = "edited"
    more: str = "… and {} more"
    value: str = "{}: value {}"
    unknown: str = "{text} (unknown since {since}: no data from {away})"
    ended: str = "ended at {at}{lasted}{why} (was: {text})"
    lasted: str = ", after firing for {}"
    removed: str = "; {} is no longer configured"
    places: Mapping[str, str] = field(
        default_factory=lambda: {
            "model": "Model",
            "version": "Version",
            "node": "Node",
            "gpu": "GPU",
            "instance": "Instance",
        }
    )
    """Names of the labels that locate an alert, in the order of a card."""
    severities: Mapping[str, str] = field(default_factory=dict)
    """Names of severities. A severity that is not in it is shown as it is."""


ENGLISH = Words()
CHINESE = Words(
    firing="告警中",
    resolved="已恢复",
    alerts="告警",
    n_firing="{} 条告警中",
    n_resolved="{} 条已恢复",
    counts="{title}（{counts}）",
    comma="，",
    simulated="模拟",
    severity="级别",
    since="开始时间",
    fired="触发时间",
    firing_count="告警中",
    resolved_count="已恢复",
    switch="切换",
    sent_here="改发至此的原因",
    console="控制台",
    runbook="处理手册",
    message="消息 {}",
    edited="已修改",
    more="…… 另有 {} 条",
    value="{}：当前值 {}",
    unknown="{text}（自 {since} 起状态未知：{away} 没有数据）",
    ended="于 {at} 结束{lasted}{why}（原告警：{text}）",
    lasted="，持续 {}",
    removed="；{} 已不在配置中",
    places={"model": "模型", "version": "版本", "node": "节点", "gpu": "GPU", "instance": "实例"},
    severities={"critical": "严重", "warning": "警告", "info": "提示"},
)
WORDS: Mapping[Language, Words] = {"en": ENGLISH, "zh": CHINESE}
