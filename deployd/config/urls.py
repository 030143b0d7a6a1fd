"""The addresses of an app, from the config alone. Whether something answers there is not asked here."""

from urllib.parse import urlsplit

from deployd.config.app import App
from deployd.config.daemon import Config

_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to


def public_urls(config: Config, app: App) -> list[str]:
    """The app's own port first, then each of its host names; none for an app on Kubernetes, where only the cluster knows."""
    if app.target != "docker":
        return []
    gateway = config.gateway
    urls = []
    if app.gateway.listen is not None:
        bound = gateway.bind if gateway.bind not in _ANYWHERE else urlsplit(config.server.base_url).hostname
        host = bound or "127.0.0.1"
        urls.append(f"http://{f'[{host}]' if ':' in host else host}:{app.gateway.listen}")
    secure = gateway.https_port is not None
    scheme, port, usual = ("https", gateway.https_port, 443) if secure else ("http", gateway.http_port, 80)
    where = "" if port == usual else f":{port}"
    urls += [f"{scheme}://{host}{where}{app.gateway.path_prefix.rstrip('/')}" for host in app.gateway.hosts]
    return urls
