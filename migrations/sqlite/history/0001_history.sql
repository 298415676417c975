-- The flow's mergeable rows. Their keys and values are the flow room's own.
CREATE TABLE flow (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
-- Written in the same transaction as the rows that it belongs to.
CREATE TABLE flow_checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_block INTEGER NOT NULL,
    pending BLOB NOT NULL
);

-- A group or a topic of a cluster, named once.
CREATE TABLE lag_source (
    id INTEGER PRIMARY KEY,
    cluster TEXT NOT NULL,
    -- 0 a group, 1 a topic.
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (cluster, kind, name)
);
-- One row a poll and group: every partition it has, packed.
CREATE TABLE lag_group (
    source INTEGER NOT NULL,
    at INTEGER NOT NULL,
    samples BLOB NOT NULL,
    PRIMARY KEY (source, at)
) WITHOUT ROWID;
-- One row a poll and topic: end and log start of every partition, packed.
CREATE TABLE lag_topic (
    source INTEGER NOT NULL,
    at INTEGER NOT NULL,
    samples BLOB NOT NULL,
    PRIMARY KEY (source, at)
) WITHOUT ROWID;
