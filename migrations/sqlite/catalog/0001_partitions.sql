-- The list of partition files. One row of `store` keeps what must outlive every partition.
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- The next partition's number: numbers, and so file names, are never used twice.
    next_partition INTEGER NOT NULL,
    -- The highest block id of any partition that was removed: block ids rise for ever.
    retired_block INTEGER NOT NULL
);
INSERT INTO store (id, next_partition, retired_block) VALUES (1, 1, 0);

CREATE TABLE partition (
    id INTEGER PRIMARY KEY,
    -- Arrivals from `opens` (inclusive) to `closes` (exclusive), nanoseconds since 1970.
    opens INTEGER NOT NULL,
    closes INTEGER NOT NULL,
    -- 1 while its files are being removed: a start finishes what a crash interrupted.
    retiring INTEGER NOT NULL DEFAULT 0
);
