"""The tables, and the migrations that bring an older database to this version.

Unique indexes enforce that an app has at most one live deploy and at most one in flight.
"""

import sqlite3

# Not `status IN (...)`: SQLite would fill a temporary table with the three values at every INSERT, a third of its time.
# The index and the queries must use the same text, so changing it needs a migration.
IN_FLIGHT = "(status = 'building' OR status = 'checking' OR status = 'rolling_out')"

# The REPLACE gives a row that waits a new id, so that it comes after what happened since.
_TELL = """
    INSERT OR REPLACE INTO outbox (reporter, app, about, status, written_at)
    SELECT reporter, NEW.app, CAST(NEW.number AS TEXT), NEW.status, (julianday('now') - 2440587.5) * 86400.0
    FROM subscriptions WHERE status = NEW.status;
"""

MIGRATIONS = (
    """
    CREATE TABLE apps (
        name        TEXT PRIMARY KEY,
        last_number INTEGER NOT NULL DEFAULT 0,    -- numbers up to this are taken, whatever the history holds
        paused      INTEGER NOT NULL DEFAULT 0,
        seen_commit TEXT,                          -- the last head that was taken up
        declined    TEXT                           -- the last head that the app did not want
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE deliveries (
        forge       TEXT NOT NULL,
        guid        TEXT NOT NULL,
        event       TEXT NOT NULL,
        received_at REAL NOT NULL,
        deploys     TEXT NOT NULL,                 -- [["iris", 42], ...]
        PRIMARY KEY (forge, guid)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX deliveries_by_age ON deliveries (received_at);
    CREATE TABLE deploys (
        app              TEXT NOT NULL,
        number           INTEGER NOT NULL,
        sha              TEXT NOT NULL,
        ref              TEXT NOT NULL,
        subject          TEXT NOT NULL,
        author           TEXT NOT NULL,
        trigger_kind     TEXT NOT NULL,
        trigger_delivery TEXT,
        trigger_by       TEXT,
        status           TEXT NOT NULL,
        rollback_to      INTEGER,
        superseded_by    INTEGER,
        reason           TEXT NOT NULL DEFAULT '',
        hint             TEXT NOT NULL DEFAULT '',
        created_at       REAL NOT NULL,
        started_at       REAL,
        live_at          REAL,
        finished_at      REAL,
        image            TEXT,                     -- JSON: name, tag, id, digest
        gates            TEXT NOT NULL DEFAULT '[]',
        model            TEXT NOT NULL DEFAULT '{}',
        PRIMARY KEY (app, number)
    ) WITHOUT ROWID, STRICT;
    CREATE UNIQUE INDEX one_live ON deploys (app) WHERE status = 'live';
    CREATE UNIQUE INDEX one_in_flight ON deploys (app) WHERE status IN ('building', 'checking', 'rolling_out');
    CREATE INDEX waiting ON deploys (app, number) WHERE status = 'queued';
    CREATE INDEX by_commit ON deploys (app, sha, number) WHERE started_at IS NOT NULL;  -- a flood touches no random page
    CREATE INDEX with_image ON deploys (app, number) WHERE live_at IS NOT NULL;
    CREATE TABLE steps (
        app         TEXT NOT NULL,
        number      INTEGER NOT NULL,
        position    INTEGER NOT NULL,
        name        TEXT NOT NULL,
        status      TEXT NOT NULL,
        started_at  REAL NOT NULL,
        finished_at REAL,
        PRIMARY KEY (app, number, position)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX running_steps ON steps (app, number) WHERE status = 'running';
    """,
    "ALTER TABLE steps ADD COLUMN detail TEXT NOT NULL DEFAULT '';",  # how far a step has come
    "ALTER TABLE apps ADD COLUMN stands_on TEXT;",  # the wanted commit below the declined one
    f"DROP INDEX one_in_flight; CREATE UNIQUE INDEX one_in_flight ON deploys (app) WHERE {IN_FLIGHT};",
    # Deliveries are hints: they owe looks. A head is decided upon once.
    """
    ALTER TABLE deploys ADD COLUMN target TEXT NOT NULL DEFAULT 'docker';
    UPDATE deploys SET target = 'kubernetes' WHERE json_extract(image, '$.digest') IS NOT NULL;
    ALTER TABLE apps RENAME TO apps_before;
    CREATE TABLE apps (
        name          TEXT PRIMARY KEY,
        last_number   INTEGER NOT NULL DEFAULT 0,  -- numbers up to this are taken, whatever the history holds
        paused        INTEGER NOT NULL DEFAULT 0,
        decided       TEXT,                        -- the head that was decided upon last
        skip_reason   TEXT NOT NULL DEFAULT '',    -- why it is not wanted, if it is not
        wanted        TEXT,                        -- the head that was wanted last,
        wanted_number INTEGER NOT NULL DEFAULT 0,  -- its deploy,
        wanted_at     REAL,                        -- and when that was queued
        owed          INTEGER NOT NULL DEFAULT 0,  -- the last delivery that owes a look
        owed_since    REAL,
        looked        INTEGER NOT NULL DEFAULT 0   -- the last delivery that a look answered
    ) WITHOUT ROWID, STRICT;
    INSERT INTO apps (name, last_number, paused, decided, wanted)
        SELECT name, last_number, paused, coalesce(declined, seen_commit), coalesce(stands_on, seen_commit)
        FROM apps_before;
    UPDATE apps SET (wanted_number, wanted_at) = (SELECT number, created_at FROM deploys
        WHERE app = name AND sha = wanted ORDER BY number DESC LIMIT 1)
        WHERE EXISTS (SELECT 1 FROM deploys WHERE app = name AND sha = wanted);
    UPDATE apps SET wanted = NULL WHERE wanted_number = 0;
    UPDATE apps SET skip_reason = 'it was not wanted' WHERE decided IS NOT wanted;
    DROP TABLE apps_before;
    ALTER TABLE deliveries RENAME TO deliveries_before;
    DROP INDEX deliveries_by_age;
    CREATE TABLE deliveries (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        forge       TEXT NOT NULL,
        guid        TEXT NOT NULL,
        event       TEXT NOT NULL,
        received_at REAL NOT NULL,
        repository  TEXT NOT NULL,
        ref         TEXT NOT NULL,
        sha         TEXT NOT NULL,
        apps        TEXT NOT NULL,                 -- ["iris", ...]: those that follow the ref
        UNIQUE (guid, forge)
    ) STRICT;
    CREATE INDEX deliveries_by_age ON deliveries (received_at);
    CREATE TABLE looks (
        app    TEXT NOT NULL,
        upto   INTEGER NOT NULL,                   -- the last delivery that this look answers
        at     REAL NOT NULL,
        sha    TEXT,                               -- the head that it found
        number INTEGER,                            -- what that head became,
        reason TEXT NOT NULL,                      -- or why nothing
        PRIMARY KEY (app, upto)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX looks_by_age ON looks (at);
    INSERT INTO deliveries (forge, guid, event, received_at, repository, ref, sha, apps)
        SELECT forge, guid, event, received_at, '', '', '',
            (SELECT json_group_array(DISTINCT json_extract(value, '$[0]')) FROM json_each(deploys))
        FROM deliveries_before ORDER BY received_at;
    INSERT OR REPLACE INTO looks (app, upto, at, sha, number, reason)
        SELECT json_extract(value, '$[0]'), deliveries.id, deliveries.received_at, NULL, json_extract(value, '$[1]'), ''
        FROM deliveries JOIN deliveries_before USING (forge, guid), json_each(deliveries_before.deploys);
    UPDATE apps SET (owed, looked) = (SELECT coalesce(max(upto), 0), coalesce(max(upto), 0) FROM looks WHERE app = name);
    DROP TABLE deliveries_before;
    """,
    # The config that a release was made with, and what this instance made: its containers and its images.
    """
    ALTER TABLE deploys ADD COLUMN config TEXT;    -- a digest of what its release was made from beside the image
    ALTER TABLE deploys ADD COLUMN settings TEXT;  -- a digest of all that was configured for the app
    ALTER TABLE deploys ADD COLUMN config_fault INTEGER NOT NULL DEFAULT 0;  -- it failed for the config, not for its commit
    CREATE TABLE containers (
        app    TEXT NOT NULL,
        number INTEGER NOT NULL,                   -- the deploy
        id     TEXT NOT NULL,                      -- the engine's, of the container that was made last
        PRIMARY KEY (app, number)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE builds (
        id        INTEGER PRIMARY KEY,
        app       TEXT NOT NULL,
        number    INTEGER NOT NULL,                -- the deploy that it was built for
        sha       TEXT NOT NULL,
        name      TEXT NOT NULL,                   -- with the tag: what this instance called it
        settings  TEXT NOT NULL DEFAULT '',        -- a hash of what it was built with
        began_at  REAL NOT NULL,
        pulled_at REAL,                            -- when its base images were pulled last
        image     TEXT,                            -- JSON, once it is built
        going     INTEGER NOT NULL DEFAULT 0       -- it is being removed: nobody may take it up
    ) STRICT;
    CREATE INDEX builds_of_app ON builds (app, sha);
    INSERT INTO builds (app, number, sha, name, began_at, image)
        SELECT app, min(number), sha, json_extract(image, '$.name') || ':' || json_extract(image, '$.tag'),
            min(coalesce(started_at, created_at)), image
        FROM deploys WHERE image IS NOT NULL GROUP BY app, sha, json_extract(image, '$.id');
    ALTER TABLE deploys ADD COLUMN rebuild INTEGER NOT NULL DEFAULT 0;  -- build it anew, from pulled base images
    """,
    # Deploys that only prove their commit, and what the record says of an image.
    """
    ALTER TABLE deploys ADD COLUMN prove INTEGER NOT NULL DEFAULT 0;  -- ask all gates, and never serve it
    ALTER TABLE deploys ADD COLUMN image_size INTEGER;                -- in bytes
    """,
    # The watch of a live release.
    """
    ALTER TABLE deploys ADD COLUMN standby INTEGER;                      -- the release that the traffic can return to
    ALTER TABLE deploys ADD COLUMN return_reason TEXT NOT NULL DEFAULT '';  -- why it does, until that is recorded
    """,
    "ALTER TABLE deploys ADD COLUMN accept_changes INTEGER NOT NULL DEFAULT 0;",  # other predictions are expected
    # Samples of what the gateway counts.
    """
    CREATE TABLE traffic (
        app       TEXT NOT NULL,
        grain     INTEGER NOT NULL,                -- the seconds of a stretch
        at        INTEGER NOT NULL,                -- the beginning of the stretch
        number    INTEGER NOT NULL,                -- the deploy, 0 for what reached none
        requests  INTEGER NOT NULL,
        errors    INTEGER NOT NULL,
        refused   INTEGER NOT NULL,
        latencies TEXT NOT NULL,                   -- JSON: the least duration of a class in microseconds -> count
        PRIMARY KEY (app, grain, at, number)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX traffic_by_age ON traffic (grain, at);
    CREATE TABLE traffic_seen (
        grain   INTEGER NOT NULL,
        at      INTEGER NOT NULL,
        seconds REAL NOT NULL,                     -- of the stretch in which somebody counted
        PRIMARY KEY (grain, at)
    ) WITHOUT ROWID, STRICT;
    """,
    # The bytes of the log at which a step begins and ends.
    "ALTER TABLE steps ADD COLUMN log_start INTEGER; ALTER TABLE steps ADD COLUMN log_end INTEGER;",
    # The reports to send outside. Triggers write them, so that no change of a status can forget one.
    f"""
    CREATE TABLE subscriptions (
        status   TEXT NOT NULL,                    -- a deploy that becomes this is told
        reporter TEXT NOT NULL,                    -- by this one
        PRIMARY KEY (status, reporter)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE outbox (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows with each change: the order of what happened
        reporter   TEXT NOT NULL,
        app        TEXT NOT NULL,
        about      TEXT NOT NULL,                  -- the number of a deploy, or the name of a check
        status     TEXT NOT NULL DEFAULT '',       -- of the deploy
        body       TEXT NOT NULL DEFAULT '',       -- JSON: the check
        written_at REAL NOT NULL,
        tries      INTEGER NOT NULL DEFAULT 0,     -- how often it was begun to be sent
        not_before REAL NOT NULL DEFAULT 0,
        UNIQUE (reporter, app, about)              -- a newer state replaces one that was not told
    ) STRICT;
    CREATE TABLE told (
        reporter TEXT NOT NULL,
        app      TEXT NOT NULL,
        about    TEXT NOT NULL,
        remote   TEXT NOT NULL,                    -- its address there; empty while it may or may not have been created
        said     TEXT NOT NULL DEFAULT '',         -- what was told last
        at       REAL NOT NULL,
        PRIMARY KEY (reporter, app, about)
    ) WITHOUT ROWID, STRICT;
    CREATE TRIGGER deploy_queued AFTER INSERT ON deploys BEGIN {_TELL} END;
    CREATE TRIGGER deploy_changed AFTER UPDATE OF status ON deploys WHEN NEW.status != OLD.status BEGIN {_TELL} END;
    CREATE TRIGGER deploy_renumbered AFTER UPDATE OF number ON deploys WHEN NEW.number != OLD.number BEGIN
        DELETE FROM outbox WHERE app = OLD.app AND about = CAST(OLD.number AS TEXT);
        {_TELL}
    END;
    """,
    # The browsers that are logged in, and who paused an app.
    """
    CREATE TABLE sessions (
        id       TEXT PRIMARY KEY,                 -- SHA-256 of what the cookie holds
        token    TEXT NOT NULL,                    -- SHA-256 of the token that it was made with
        began_at REAL NOT NULL,
        seen_at  REAL NOT NULL
    ) WITHOUT ROWID, STRICT;
    ALTER TABLE apps ADD COLUMN paused_by TEXT;
    ALTER TABLE apps ADD COLUMN paused_at REAL;
    """,
    # The acts of people on an app, apart from deploys.
    """
    CREATE TABLE acts (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        app    TEXT NOT NULL,
        at     REAL NOT NULL,
        who    TEXT,
        done   TEXT NOT NULL,                      -- paused, resumed, scaled, redelivered
        detail TEXT NOT NULL                       -- the number of pods, the GUID of the delivery
    ) STRICT;
    CREATE INDEX acts_of_app ON acts (app, id);
    """,
    # The version of a registered model beside each commit: JSON [name, version, source, created], empty for none. And of each
    # version the files as they were first fetched.
    """
    ALTER TABLE deploys ADD COLUMN registered TEXT NOT NULL DEFAULT '';
    ALTER TABLE apps ADD COLUMN decided_registered TEXT NOT NULL DEFAULT '';
    ALTER TABLE apps ADD COLUMN wanted_registered TEXT NOT NULL DEFAULT '';
    CREATE TABLE models (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        registered TEXT NOT NULL UNIQUE,
        files      TEXT NOT NULL,                  -- JSON: path -> SHA-256
        fetched_at REAL NOT NULL
    ) STRICT;
    """,
    # A delivery may tell of several refs: JSON {"rose": [ref, sha], ...} of the apps that follow another one than `ref`.
    """
    ALTER TABLE deliveries ADD COLUMN others TEXT NOT NULL DEFAULT '';
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to this version, each migration in its own transaction."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(
            f"the database has version {version}, this deployd knows versions up to {len(MIGRATIONS)}"
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {number}; COMMIT;")
