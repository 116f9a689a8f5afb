-- Layers are the same for every driver: what is unpacked where is in `replicas`.
CREATE TABLE layers (
    chain_id TEXT PRIMARY KEY,
    diff_id  TEXT NOT NULL,
    parent   TEXT REFERENCES layers(chain_id),
    size     INTEGER NOT NULL
) STRICT;

CREATE TABLE replicas (
    chain_id TEXT NOT NULL REFERENCES layers(chain_id),
    driver   TEXT NOT NULL,
    cache_id TEXT NOT NULL,
    state    TEXT NOT NULL,
    note     BLOB NOT NULL,
    PRIMARY KEY (chain_id, driver)
) STRICT;

CREATE TABLE images (
    id      TEXT PRIMARY KEY,
    chain   TEXT,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE image_names (
    name  TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images(id)
) STRICT;

CREATE TABLE containers (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    doc  TEXT NOT NULL
) STRICT;

CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    doc  TEXT NOT NULL
) STRICT;

-- Driver calls that make something, from before the call until its result is recorded. A row found
-- at start belongs to an engine that died: what it names is removed.
CREATE TABLE operations (
    id     INTEGER PRIMARY KEY,
    kind   TEXT NOT NULL,
    driver TEXT NOT NULL,
    object TEXT NOT NULL,
    doc    TEXT NOT NULL
) STRICT;
