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
GATES = Counter("deployd_gates", "Verdicts of gates", ["app", "gate", "verdict"])
QUEUE_DEPTH = Gauge("deployd_queue_depth", "Queued deploys", ["app"])
LIVE_INFO = Gauge(
    "deployd_live_info",
    "The commit of the live release: 1 while it serves, 0 while it does not or nobody can tell",
    ["app", "commit"],
)
HEAD_LAG = Gauge("deployd_head_lag_seconds", "How long the head has not been the live commit", ["app"])
REQUESTS = Counter("deployd_requests", "Requests to the app that the gateway passed on or had to refuse", ["app"])
REQUEST_ERRORS = Counter("deployd_request_errors", "Of these, those without an answer or with 5xx", ["app"])
LIVE_SINCE = Gauge("deployd_live_timestamp_seconds", "When the traffic moved to the live release", ["app"])
IN_FLIGHT = Gauge(
    "deployd_in_flight_seconds", "How long the deploy in flight has been under way, 0 without one", ["app"]
)
HELD = Gauge("deployd_held", "1 while the app is held: it goes to no commit by itself until the next head", ["app"])
PAUSED = Gauge("deployd_paused", "1 while the app's deploys stay queued", ["app"])
GATE_FIGURE = Gauge(
    "deployd_gate_figure",
    "What a gate has measured of the live release, and its limits",
    ["app", "gate", "moment", "figure"],
)
DISK_FREE = Gauge("deployd_state_disk_free_bytes", "Free bytes of the disk with the state directory")
DISK_SIZE = Gauge("deployd_state_disk_size_bytes", "Size of the disk with the state directory")
INFO = Gauge("deployd_info", "1; the version of the daemon", ["version"])

# They hold a series for each app, so that those of an app that left the config go.
OF_APPS = (QUEUE_DEPTH, LIVE_INFO, HEAD_LAG, LIVE_SINCE, IN_FLIGHT, HELD, PAUSED, GATE_FIGURE)
REPORTS = Counter(
    "deployd_reports", "Reports to GitHub and notifications, by what became of them", ["reporter", "outcome"]
)
REPORTS_WAITING = Gauge("deployd_reports_waiting", "Reports that were not told yet", ["reporter"])
REPORTS_OLDEST = Gauge("deployd_reports_oldest_seconds", "How long the oldest of them has waited", ["reporter"])
