"""The HTTP tests use the daemon and the event loop of the API tests."""

from tests.api.conftest import browser, daemon, pytest_asyncio_loop_factories

__all__ = ["browser", "daemon", "pytest_asyncio_loop_factories"]
