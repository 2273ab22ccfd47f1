"""The words of a card, in English and Chinese. Texts of rules and labels stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from alerts.interfaces import FLAP_WORDS

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
    escalation: str = "Escalation"
    escalated: str = "step {step} of {steps}: nobody had acknowledged it after {after}"
    on_call: str = "On call"
    nobody: str = "nobody in {}"
    called: str = "on call"
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
    flapping: str = FLAP_WORDS
    storm: str = "storm, {label} {value}"
    storm_of: str = (
        "{alerts} alerts of {groups} groups with {label}={value} began together; this message stands for all of them"
    )
    storm_kind: str = "{alerts} × {name} ({severity})"
    storm_before: str = "shortly before: {}"
    storm_rest: str = "the storm is over; {} alerts still fire, and their groups send them"
    moved: str = "MOVED"
    moved_on: str = "the routes have changed; {} alerts still fire, and other messages tell of them"
    settled: str = "no longer flapping: no change in the last {minutes} minutes"
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
    escalation="升级",
    escalated="第 {step} 步（共 {steps} 步）：{after} 内无人确认",
    on_call="值班",
    nobody="{} 无人值班",
    called="值班",
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
    flapping="抖动：最近 {minutes} 分钟内状态变化 {n} 次",
    storm="告警风暴，{label} {value}",
    storm_of="{groups} 组中带有 {label}={value} 的 {alerts} 条告警同时出现，合并为本消息",
    storm_kind="{name}（{severity}）{alerts} 条",
    storm_before="此前不久：{}",
    moved="已转移",
    moved_on="路由已更改；仍有 {} 条告警中，由其他消息通知",
    storm_rest="告警风暴已结束；仍有 {} 条告警中，由各自的组发送",
    settled="不再抖动：最近 {minutes} 分钟内状态未变化",
    places={"model": "模型", "version": "版本", "node": "节点", "gpu": "GPU", "instance": "实例"},
    severities={"critical": "严重", "warning": "警告", "info": "提示"},
)
WORDS: Mapping[Language, Words] = {"en": ENGLISH, "zh": CHINESE}
