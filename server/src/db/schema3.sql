-- Version 3: the lives of a store. A new one begins when its data was restored from a backup: commits
-- that devices know of may be missing then.
CREATE TABLE life (
  num INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL UNIQUE,
  began_ms INTEGER NOT NULL
) STRICT;
INSERT INTO life (num, epoch, began_ms) SELECT 1, epoch, made_ms FROM store;

CREATE TABLE life_start (
  drive INTEGER NOT NULL,
  life INTEGER NOT NULL REFERENCES life,
  head INTEGER NOT NULL,        -- of the drive when that life began
  PRIMARY KEY (drive, life)
) STRICT, WITHOUT ROWID;

-- Tells this file from a copy of it (see lives.rs); NULL: not known yet.
ALTER TABLE store ADD COLUMN identity INTEGER;
