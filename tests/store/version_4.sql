-- The tables of the former release (schema version 4), as it made them; test_migration.py fills them.
CREATE TABLE apps (
    name        TEXT PRIMARY KEY,
    last_number INTEGER NOT NULL DEFAULT 0,
    paused      INTEGER NOT NULL DEFAULT 0,
    seen_commit TEXT,
    declined    TEXT
) WITHOUT ROWID, STRICT;
CREATE TABLE deliveries (
    forge       TEXT NOT NULL,
    guid        TEXT NOT NULL,
    event       TEXT NOT NULL,
    received_at REAL NOT NULL,
    deploys     TEXT NOT NULL,
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
    image            TEXT,
    gates            TEXT NOT NULL DEFAULT '[]',
    model            TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (app, number)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX one_live ON deploys (app) WHERE status = 'live';
CREATE UNIQUE INDEX one_in_flight ON deploys (app) WHERE status IN ('building', 'checking', 'rolling_out');
CREATE INDEX waiting ON deploys (app, number) WHERE status = 'queued';
CREATE INDEX by_commit ON deploys (app, sha, number) WHERE started_at IS NOT NULL;
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
ALTER TABLE steps ADD COLUMN detail TEXT NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN stands_on TEXT;
DROP INDEX one_in_flight;
CREATE UNIQUE INDEX one_in_flight ON deploys (app) WHERE (status = 'building' OR status = 'checking' OR status = 'rolling_out');
PRAGMA user_version = 4;
