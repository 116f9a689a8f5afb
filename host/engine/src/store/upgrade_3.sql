-- What the third layout adds to the second.

-- How containers ended that were removed by themselves, for a while: who waited through an engine that
-- died asks the next one.
CREATE TABLE exits (
    id   TEXT PRIMARY KEY,
    code INTEGER NOT NULL,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
