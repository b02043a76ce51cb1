-- Version 1. Ids are BLOBs; times are milliseconds since 1970; revs are numbers of commits.
CREATE TABLE store (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  epoch INTEGER NOT NULL,
  made_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE drive (
  num INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  label TEXT NOT NULL,
  params BLOB NOT NULL,
  head INTEGER NOT NULL,        -- the newest rev
  log_from INTEGER NOT NULL,    -- the log has every rev after this one
  used_bytes INTEGER NOT NULL,  -- packs and bodies
  depth_bound INTEGER NOT NULL, -- no directory lies deeper than this (an upper bound)
  made_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
  id BLOB PRIMARY KEY,
  drive INTEGER NOT NULL REFERENCES drive,
  label TEXT NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  made_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX device_of_drive ON device (drive);

CREATE TABLE invite (
  lookup BLOB PRIMARY KEY,
  drive INTEGER NOT NULL REFERENCES drive,
  sealed_key BLOB NOT NULL,
  expires_ms INTEGER            -- NULL: the recovery invitation, good for ever and often
) STRICT, WITHOUT ROWID;
CREATE INDEX invite_of_drive ON invite (drive);

CREATE TABLE node (
  drive INTEGER NOT NULL,
  id BLOB NOT NULL,
  parent BLOB NOT NULL,
  name_key BLOB NOT NULL,
  name BLOB NOT NULL,
  kind INTEGER NOT NULL,
  meta BLOB NOT NULL,
  head BLOB,
  meta_rev INTEGER NOT NULL,
  content_rev INTEGER NOT NULL,
  live INTEGER NOT NULL,
  PRIMARY KEY (drive, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX node_name ON node (drive, parent, name_key) WHERE live = 1;
CREATE INDEX node_child ON node (drive, parent, kind, id) WHERE live = 1;
CREATE INDEX node_trash ON node (drive, meta_rev) WHERE live = 0;

-- What a node was before a commit changed it: its state at revs [rev_from, rev_to).
CREATE TABLE history (
  drive INTEGER NOT NULL,
  id BLOB NOT NULL,
  rev_to INTEGER NOT NULL,
  rev_from INTEGER NOT NULL,
  parent BLOB NOT NULL,
  name_key BLOB NOT NULL,
  name BLOB NOT NULL,
  kind INTEGER NOT NULL,
  meta BLOB NOT NULL,
  head BLOB,
  meta_rev INTEGER NOT NULL,
  content_rev INTEGER NOT NULL,
  live INTEGER NOT NULL,
  PRIMARY KEY (drive, id, rev_to)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_child ON history (drive, parent, kind, id) WHERE live = 1;
CREATE INDEX history_age ON history (drive, rev_to);

-- Immutable contents. `refs` is chunk ids back to back.
CREATE TABLE version (
  drive INTEGER NOT NULL,
  node BLOB NOT NULL,
  rev INTEGER NOT NULL,
  head BLOB NOT NULL,
  body BLOB NOT NULL,
  refs BLOB NOT NULL,
  device BLOB NOT NULL,
  stored_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX version_key ON version (drive, node, rev);

-- `nodes` is the CBOR of the states right after the commit.
CREATE TABLE log (
  drive INTEGER NOT NULL,
  rev INTEGER NOT NULL,
  request BLOB NOT NULL,
  device BLOB NOT NULL,
  node_count INTEGER NOT NULL,
  nodes BLOB NOT NULL,
  stored_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_key ON log (drive, rev);

-- What each commit request was answered, so that the same request again is answered the same.
CREATE TABLE request (
  device BLOB NOT NULL,
  id BLOB NOT NULL,
  reply BLOB NOT NULL,
  stored_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX request_key ON request (device, id);
CREATE INDEX request_age ON request (stored_ms);

CREATE TABLE pack (
  num INTEGER PRIMARY KEY,
  drive INTEGER NOT NULL,
  id BLOB NOT NULL,
  size INTEGER NOT NULL,
  damaged INTEGER NOT NULL,     -- 1: could not be read back; its chunks count as missing
  stored_ms INTEGER NOT NULL,
  UNIQUE (drive, id)
) STRICT;

CREATE TABLE chunk (
  drive INTEGER NOT NULL,
  id BLOB NOT NULL,
  pack INTEGER NOT NULL,
  at INTEGER NOT NULL,
  len INTEGER NOT NULL,
  refs BLOB,                    -- chunks that a page of a manifest names; NULL: none, or all known to be stored
  PRIMARY KEY (drive, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX chunk_of_pack ON chunk (pack);
