-- What the alert engine remembers, rules made in a form, silences: each a value of its own, the alert room's to read.
CREATE TABLE alert_memory (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
-- What happened to alerts, for reading. Ids are never used twice, so that a page goes on where the last one ended.
CREATE TABLE alert_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    alert TEXT NOT NULL,
    kind TEXT NOT NULL,
    rule TEXT NOT NULL,
    -- NULL where the alert is of no cluster.
    cluster TEXT,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL,
    sentence TEXT NOT NULL,
    -- Who did it, as claimed; NULL where nobody did.
    by_whom TEXT
);
CREATE INDEX alert_event_at ON alert_event (at);
-- Messages to people: what is to be sent, and what became of what was.
CREATE TABLE alert_delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message BLOB NOT NULL,
    -- How many alerts the message is of.
    alerts INTEGER NOT NULL,
    -- 0 pending, 1 delivered, 2 failed.
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    -- When it is to be tried; NULL once it is over.
    next_at INTEGER,
    -- When it was tried; NULL before.
    last_at INTEGER,
    -- What the last attempt came to; empty before.
    detail TEXT NOT NULL
);
-- What is pending is little beside what is over.
CREATE INDEX alert_delivery_pending ON alert_delivery (channel, id) WHERE state = 0;
CREATE INDEX alert_delivery_channel ON alert_delivery (channel, id);
