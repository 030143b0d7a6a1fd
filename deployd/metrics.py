"""What Prometheus is told. Counters and histograms are fed where things happen, gauges when they are asked for."""

from prometheus_client import Counter, Gauge, Histogram

DELIVERIES = Counter("deployd_deliveries", "Webhook deliveries by what became of them", ["forge", "outcome"])
DEPLOYS = Counter("deployd_deploys", "Deploys that ended or went live", ["app", "status"])
DEPLOY_SECONDS = Histogram(
    "deployd_deploy_seconds",
    "How long each step of a deploy took",
    ["app", "step"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
QUEUE_DEPTH = Gauge("deployd_queue_depth", "Deploys that wait", ["app"])
LIVE_INFO = Gauge("deployd_live_info", "The commit that serves; always 1", ["app", "commit"])
HEAD_LAG = Gauge("deployd_head_lag_seconds", "How long the branch head has been other than what serves", ["app"])
