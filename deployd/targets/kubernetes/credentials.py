"""The credentials of one user of a cluster, and the connections that are made with them; the only module that uses
kubernetes_asyncio.

The library reads them (a kubeconfig, exec plugins, a pod's token) and speaks TLS. Credentials expire and files change, so they
can be read again while requests are in flight. Knows no request.
"""

import asyncio
from pathlib import Path

from kubernetes_asyncio import client, config

from deployd.errors import ConfigError, Unavailable

_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Credentials:
    """Those of a kubeconfig, or of the pod in which deployd runs. Several tasks may share them."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._kubeconfig = str(Path(kubeconfig).expanduser()) if kubeconfig else None
        self._context = context
        self._api: client.ApiClient | None = None
        self._former: list[client.ApiClient] = []
        self._reading = asyncio.Lock()
        self.times_read = 0

    @property
    def inside(self) -> bool:
        """Whether they are those of a pod of the cluster."""
        return self._kubeconfig is None and _TOKEN.exists()

    async def close(self) -> None:
        """Close all connections."""
        for api in (*self._former, self._api):
            if api is not None:
                await api.close()
        self._api, self._former = None, []

    async def ready(self) -> client.ApiClient:
        """The connections; the first call reads the credentials. Raises ConfigError."""
        return self._api or await self.renew(0)

    async def renew(self, known: int) -> client.ApiClient:
        """Read them, unless they were read again since `known`, the count that the caller saw. Raises Unavailable, or ConfigError
        when they were never read."""
        async with self._reading:
            if self._api is not None and self.times_read != known:
                return self._api
            try:
                settings = await self._settings()
            except ConfigError as exc:
                if self._api is None:
                    raise
                # They worked before: a plugin that fails once, or a file that is being written, is a temporary failure.
                raise Unavailable(exc.message, hint=exc.hint) from exc
            self.times_read += 1
            if self._api is None or _tls(settings) != _tls(self._api.configuration):
                # Requests in flight still use the former client, so it is closed only at the end.
                self._former += [self._api] if self._api is not None else []
                self._api = client.ApiClient(settings)
            self._api.configuration = settings
            return self._api

    async def _settings(self) -> client.Configuration:
        settings = client.Configuration()
        settings.connection_pool_maxsize = 0  # no limit: every watch and every followed log keeps a connection open
        try:
            if self.inside:
                config.load_incluster_config(client_configuration=settings)
            else:
                await config.load_kube_config(self._kubeconfig, self._context, settings, persist_config=False)
        except Exception as exc:  # the library raises errors of any type for an unusual or half-written file
            raise ConfigError(
                f"the cluster's credentials cannot be read: {exc}",
                hint="see kubeconfig and context in [app.kubernetes]",
            ) from exc
        return settings


def _tls(settings: client.Configuration) -> tuple[object, ...]:
    """The settings of the client's connections; a new token needs no new client."""
    return (
        settings.host,
        settings.ssl_ca_cert,
        settings.cert_file,
        settings.key_file,
        settings.verify_ssl,
        settings.proxy,
    )
