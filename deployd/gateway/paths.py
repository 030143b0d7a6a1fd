"""The mount points in the gateway's container, and its control port."""

CONFIG = "/etc/deployd"
"""The mount point of the directory with haproxy.cfg."""
SOCKETS = "/run/deployd"
CERTIFICATES = "/etc/deployd-certificates"
CONTROL_PORT = 9764
"""The TCP port of HAProxy's master CLI inside the container, on a bridge network."""
