-- What the fourth layout adds to the third.

-- Plugins that were installed, every generation that is kept. A row is written when its file is on disk.
CREATE TABLE plugins (
    name       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    version    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    file       TEXT NOT NULL,
    isolation  TEXT NOT NULL,
    grants     TEXT NOT NULL,
    enabled    INTEGER NOT NULL,
    current    INTEGER NOT NULL,
    PRIMARY KEY (name, generation)
) STRICT, WITHOUT ROWID;
