"""The queries that rules and dashboards ask of this engine: each evaluates, and those with data answer."""

from __future__ import annotations

import pytest

from tests.unit.controlplane.metrics.conftest import Ask

FLEET = """
vllm:e2e_request_latency_seconds_bucket{model_name="chat",le="1.0"} 0+5x40
vllm:e2e_request_latency_seconds_bucket{model_name="chat",le="2.0"} 0+90x40
vllm:e2e_request_latency_seconds_bucket{model_name="chat",le="+Inf"} 0+100x40
vllm:e2e_request_latency_seconds_count{model_name="chat"} 0+100x40
vllm:num_requests_waiting{model_name="chat",instance="a"} 30x40
vllm:num_requests_running{model_name="chat",instance="a"} 8x40
vllm:kv_cache_usage_perc{model_name="chat",instance="a"} 0.99x40
vllm:num_preemptions_total{model_name="chat",instance="a"} 0+1x40
vllm:generation_tokens_total{model_name="chat",instance="a"} 500x40
vllm:request_success_total{model_name="chat",finished_reason="stop"} 0+9x40
vllm:request_success_total{model_name="chat",finished_reason="error"} 0+1x40
nv_inference_request_success{model="m",version="1"} 0+95x40
nv_inference_request_failure{model="m",version="1",reason="REJECTED"} 0+10x40
nv_inference_request_duration_us{model="m",version="1"} 0+9500000x40
nv_inference_request_summary_us{model="m",version="1",quantile="0.99"} 3e6x40
DCGM_FI_DEV_FB_USED{hostname="h",UUID="g"} 78000x40
DCGM_FI_DEV_FB_FREE{hostname="h",UUID="g"} 1000x40
DCGM_FI_DEV_FB_RESERVED{hostname="h",UUID="g"} 500x40
DCGM_FI_DEV_GPU_TEMP{hostname="h",UUID="g"} 90x40
DCGM_FI_DEV_GPU_TEMP{hostname="h",UUID="lost"} 60x5 stale
up{job="vllm",instance="a"} 0x40
llm_expected_replicas{model_name="gone"} 2x40
llm_replica_ready{model_name="chat"} 1x40
llm_budget_spent_usd{model="chat"} 12x40
llm_budget_prorated_usd{model="chat"} 9x40
"""

P99_SHARE = """
(1 - sum by (model_name) (rate(vllm:e2e_request_latency_seconds_bucket{le="2.0"}[5m]))
   / sum by (model_name) (rate(vllm:e2e_request_latency_seconds_count[5m]))) > 0.01
and sum by (model_name) (increase(vllm:e2e_request_latency_seconds_count[5m])) > 100
"""
QPS = """
sum by (model_name) (rate(vllm:request_success_total[5m]))
or label_replace(sum by (model) (rate(nv_inference_request_success[5m])), "model_name", "$1", "model", "(.+)")
"""
BASELINE = """
quantile without (wk) (0.5,
   label_replace(avg_over_time(model:llm_requests:rate5m[1h] offset 167h30m), "wk", "1", "", "")
or label_replace(avg_over_time(model:llm_requests:rate5m[1h] offset 335h30m), "wk", "2", "", ""))
"""
TRITON_ERRORS = """
sum by (model) (rate(nv_inference_request_failure{reason!="CANCELED"}[5m]))
/ (sum by (model) (rate(nv_inference_request_success[5m]))
   + sum by (model) (rate(nv_inference_request_failure{reason!="CANCELED"}[5m]))) > 0.01
"""
HTTP_ERRORS = """
(sum by (job) (rate(http_requests_total{job="vllm",status=~"5.."}[5m]))
 or 0 * sum by (job) (rate(http_requests_total{job="vllm"}[5m])))
/ sum by (job) (rate(http_requests_total{job="vllm"}[5m])) > 0.01
"""
MEAN = """
sum by (model,version) (rate(nv_inference_request_duration_us[5m]))
/ sum by (model,version) (rate(nv_inference_request_success[5m])) / 1e6
"""
VRAM = "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE + DCGM_FI_DEV_FB_RESERVED)"
P95 = "histogram_quantile(0.95, sum by (le, model_name) (rate(vllm:e2e_request_latency_seconds_bucket[5m])))"


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        (P99_SHARE, {'{model_name="chat"}': 0.1}),
        (P95, {'{model_name="chat"}': 2}),
        (QPS, {'{model_name="chat"}': 10 / 60, '{model="m",model_name="m"}': 95 / 60}),
        (BASELINE, {}),
        (TRITON_ERRORS, {'{model="m"}': 10 / 105}),
        (HTTP_ERRORS, {}),
        (MEAN, {'{model="m",version="1"}': 0.1}),
        (f"{VRAM} > 0.95", {'{UUID="g",hostname="h"}': 78000 / 79500}),
        ('up{job=~"vllm|triton|sglang"} == 0', {'up{instance="a",job="vllm"}': 0}),
        ("max by (model_name) (llm_replica_ready) == 0", {}),
        (
            "llm_expected_replicas > 0 unless on (model_name) (llm_replica_ready == 1)",
            {'llm_expected_replicas{model_name="gone"}': 2},
        ),
        (
            'max by (model, version) (nv_inference_request_summary_us{quantile="0.99"}) > 2e6',
            {'{model="m",version="1"}': 3e6},
        ),
        (
            "sum by (model_name) (vllm:num_requests_waiting) > 2 * sum by (model_name) (vllm:num_requests_running) "
            "and sum by (model_name) (vllm:num_requests_waiting) > 10",
            {'{model_name="chat"}': 30},
        ),
        (
            "max by (model_name, instance) (vllm:kv_cache_usage_perc) > 0.95 and on (model_name, instance) "
            "sum by (model_name, instance) (rate(vllm:num_preemptions_total[5m])) > 0",
            {'{instance="a",model_name="chat"}': 0.99},
        ),
        (
            "sum by (model_name, instance) (vllm:num_requests_running) > 0 and on (model_name, instance) "
            "sum by (model_name, instance) (rate(vllm:generation_tokens_total[5m])) == 0",
            {'{instance="a",model_name="chat"}': 8},
        ),
        (
            "count by (hostname) (DCGM_FI_DEV_GPU_TEMP) < count by (hostname) (DCGM_FI_DEV_GPU_TEMP offset 36m)",
            {'{hostname="h"}': 1},
        ),
        ("max by (hostname, UUID) (DCGM_FI_DEV_GPU_TEMP) > 85", {'{UUID="g",hostname="h"}': 90}),
        (
            "llm_budget_spent_usd / llm_budget_prorated_usd > 1.2 and llm_budget_spent_usd > 5",
            {'{model="chat"}': 12 / 9},
        ),
        ('changes(process_start_time_seconds{job=~"vllm|sglang"}[15m]) > 2', {}),
        ("increase(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL[10m]) > 0 or increase(DCGM_FI_DEV_ROWS[10m]) > 0", {}),
        ("vector(1)", {"{}": 1}),
    ],
)
def test_rule(ask: Ask, expr: str, result: dict[str, float]) -> None:
    assert ask(FLEET, expr, 2400) == {series: pytest.approx(value, rel=1e-12) for series, value in result.items()}
