"""Where the gateway's container has what is mounted into it, and its control port."""

CONFIG = "/etc/deployd"
"""Where the directory of haproxy.cfg is mounted."""
SOCKETS = "/run/deployd"
CERTIFICATES = "/etc/deployd-certificates"
CONTROL_PORT = 9764
"""The TCP port of HAProxy's master CLI inside the container, on a bridge network."""
