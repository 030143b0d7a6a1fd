"""The Prometheus metrics. Counters and histograms are updated where things happen, gauges when /metrics is read."""

from prometheus_client import Counter, Gauge, Histogram

DELIVERIES = Counter("deployd_deliveries", "Webhook deliveries by outcome", ["forge", "outcome"])
DEPLOYS = Counter("deployd_deploys", "Deploys that ended or went live", ["app", "status"])
DEPLOY_SECONDS = Histogram(
    "deployd_deploy_seconds",
    "How long each step of a deploy took",
    ["app", "step"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
RECORDED = Counter(
    "deployd_recorded_requests", "Sampled requests of apps that agree, by what became of them", ["app", "outcome"]
)
QUEUE_DEPTH = Gauge("deployd_queue_depth", "Queued deploys", ["app"])
LIVE_INFO = Gauge(
    "deployd_live_info",
    "The commit of the live release: 1 while it serves, 0 while it does not or nobody can tell",
    ["app", "commit"],
)
HEAD_LAG = Gauge("deployd_head_lag_seconds", "How long the head has not been the live commit", ["app"])
