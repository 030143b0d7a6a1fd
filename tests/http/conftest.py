"""The wire, tested as the API is: behind a running daemon, and on the loop that it runs on."""

from tests.api.conftest import browser, daemon, pytest_asyncio_loop_factories

__all__ = ["browser", "daemon", "pytest_asyncio_loop_factories"]
