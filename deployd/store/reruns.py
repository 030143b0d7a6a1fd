"""Deploys without a new commit: restarts of the live release with the present config, and retries of a head that failed for the
config."""

import sqlite3
from collections.abc import Callable

from msgspec import structs

from deployd.domain import Deploy
from deployd.goal import Trigger
from deployd.store.apps import app_state, origin_of
from deployd.store.deploys import one_deploy, queue
from deployd.store.rows import image_json
from deployd.store.table import Table


class Reruns(Table):
    """Each method is one transaction, in which nothing else is queued or begins."""

    async def restart(self, app: str, target: str, config: str, by: str | None) -> Deploy | None:
        """Queue a restart of the live release that a person asks for; `config` is the digest of the present config.

        None when there is no live release, or a deploy that is to serve is queued or in flight. Raises Unavailable."""
        return await self._queued(lambda connection: _restart(connection, app, target, config, by))

    async def renew(self, app: str, target: str, config: str) -> Deploy | None:
        """Queue a restart of the live release if it was made with another config than `config`; once for each config.

        Raises Unavailable."""
        return await self._queued(lambda connection: _renew(connection, app, target, config))

    async def try_again(self, app: str, target: str, settings: str) -> Deploy | None:
        """Queue the head that was wanted last once more if its deploy failed for the config, or with other settings than
        `settings` (a digest). Not when a person has deployed since. Raises Unavailable."""
        return await self._queued(lambda connection: _try_again(connection, app, target, settings))

    async def record_config(self, deploy: Deploy, config: str, settings: str | None = None) -> None:
        """Record the digests of the config with which the release of a deploy is made, and of all settings of its app."""
        query = "UPDATE deploys SET config = ?, settings = coalesce(?, settings) WHERE app = ? AND number = ?"
        values = (config, settings, deploy.app, deploy.number)
        await self._write_until_done(lambda connection: connection.execute(query, values).rowcount)

    async def _queued(self, work: Callable[[sqlite3.Connection], Deploy | None]) -> Deploy | None:
        deploy = await self._database.write(work)
        if deploy is not None:
            self._tell(deploy)
        return deploy


def _restart(connection: sqlite3.Connection, app: str, target: str, config: str, by: str | None) -> Deploy | None:
    state = app_state(connection, app)
    live = state.live
    if live is None or live.image is None or not state.at_rest:
        return None
    deploy = queue(connection, live.again(trigger=Trigger("restart", by=by), target=target))
    change = "UPDATE deploys SET image = ?, config = ? WHERE app = ? AND number = ?"
    connection.execute(change, (image_json(live.image), config, app, deploy.number))
    return structs.replace(deploy, image=live.image, config=config)


def _renew(connection: sqlite3.Connection, app: str, target: str, config: str) -> Deploy | None:
    state = app_state(connection, app)
    live = state.live
    if state.paused or live is None or live.config in {None, config} or live.target != target:
        return None
    tried = "SELECT 1 FROM deploys WHERE app = ? AND number > ? AND trigger_kind = 'restart' AND config = ?"
    if connection.execute(tried, (app, live.number, config)).fetchone() is not None:
        return None
    return _restart(connection, app, target, config, None)


def _try_again(connection: sqlite3.Connection, app: str, target: str, settings: str) -> Deploy | None:
    row = connection.execute("SELECT wanted_number FROM apps WHERE name = ?", (app,)).fetchone()
    failed = one_deploy(connection, app, row["wanted_number"]) if row is not None else None
    state = app_state(connection, app)
    if failed is None or failed.status != "failed" or not state.at_rest:
        return None
    if state.live is not None and origin_of(connection, state.live).number > failed.number:
        return None
    if not failed.config_fault and failed.settings in {None, settings}:
        return None
    deploy = queue(connection, failed.again(trigger=failed.trigger, target=target))
    connection.execute("UPDATE apps SET wanted_number = ? WHERE name = ?", (deploy.number, app))
    return deploy
