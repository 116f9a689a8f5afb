-- What the second layout adds to the first.

-- What a replica's tree is known by, and the epoch in which it was made or last compared with it. An
-- epoch ends when an engine or the machine stops without the engine's word that all is well.
ALTER TABLE replicas ADD COLUMN seal TEXT;
ALTER TABLE replicas ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;

-- Replicas that were found unlike their seals. They are never used again; their trees stay until
-- their layer goes.
CREATE TABLE damaged (
    driver   TEXT NOT NULL,
    cache_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    note     BLOB NOT NULL,
    what     TEXT NOT NULL,
    PRIMARY KEY (driver, cache_id)
) STRICT;

-- Who needs which layer: a cache ID or a chain ID, and a container. They come and go in the commit
-- that makes or removes their owner.
CREATE TABLE leases (
    layer TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (layer, owner)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO leases (layer, owner)
    SELECT json_extract(doc, '$.layer'), id FROM containers
    WHERE json_valid(doc) AND json_extract(doc, '$.layer') IS NOT NULL;
INSERT OR IGNORE INTO leases (layer, owner)
    SELECT json_extract(doc, '$.chain'), id FROM containers
    WHERE json_valid(doc) AND json_extract(doc, '$.chain') IS NOT NULL;

-- Secrets of volumes. No other table, file or message holds one.
CREATE TABLE secrets (
    volume TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  BLOB NOT NULL,
    PRIMARY KEY (volume, name)
) STRICT;

-- What is known of the data root as a whole.
CREATE TABLE marks (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
