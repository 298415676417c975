-- Append-only blocks of spans, and their packed, sorted index. Instants are nanoseconds since 1970, cut to 63 bits.
CREATE TABLE meta (
    block INTEGER PRIMARY KEY,
    arrived INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    min_start INTEGER NOT NULL,
    max_start INTEGER NOT NULL,
    max_duration INTEGER NOT NULL,
    has_error INTEGER NOT NULL,
    -- Length-prefixed names of the services in it; null when they are many.
    services BLOB
);
-- A search walks blocks from the newest span on. Rises with arrival, so the tree only grows at its right edge.
CREATE INDEX meta_by_start ON meta (max_start, block, min_start, spans);

-- What a search and the index are made of, in compressed columns.
CREATE TABLE head (block INTEGER PRIMARY KEY, columns BLOB NOT NULL);
-- The spans as they were sent, and each resource and scope once.
CREATE TABLE body (block INTEGER PRIMARY KEY, spans BLOB NOT NULL);

-- Blocks first_block..=last_block are in `ix`; the blocks after the last segment are indexed in memory.
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,
    first_block INTEGER NOT NULL,
    last_block INTEGER NOT NULL,
    spans INTEGER NOT NULL
);
-- Sorted (fingerprint, block) entries. `bucket` is the lowest fingerprint the row may hold.
CREATE TABLE ix (
    segment INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (segment, kind, bucket)
) WITHOUT ROWID;
