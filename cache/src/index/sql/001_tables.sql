-- The replica: one row per node that is known here.
CREATE TABLE node (
    ino INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    parent INTEGER NOT NULL,        -- 0: no place
    name BLOB NOT NULL,
    kind INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime INTEGER NOT NULL,         -- ns since 1970
    atime INTEGER,                  -- NULL: equal to mtime, as with most nodes
    ctime INTEGER,
    btime INTEGER,
    meta_rev INTEGER NOT NULL,
    content_rev INTEGER NOT NULL,
    pending INTEGER NOT NULL,       -- bits of what must be sent
    flags INTEGER NOT NULL,         -- 1 listed, 2 pinned, 4 gone
    hot INTEGER NOT NULL,           -- 1: loaded at every start
    extra BLOB,                     -- rdev, symlink target, xattrs
    origin BLOB                     -- place and attributes as the cloud has them
) STRICT;
CREATE INDEX node_parent ON node (parent) WHERE parent <> 0;
CREATE INDEX node_id ON node (id);
CREATE INDEX node_hot ON node (hot) WHERE hot = 1;

-- The local bytes of a file: ranges as encoded sets.
CREATE TABLE content (
    ino INTEGER PRIMARY KEY,
    base_id BLOB,                   -- NULL: none
    base_rev INTEGER NOT NULL,
    base_len INTEGER NOT NULL,
    valid BLOB NOT NULL,
    dirty BLOB NOT NULL
) STRICT;

-- Backing files that a change has dropped and that may still be on the disk.
CREATE TABLE grave (ino INTEGER PRIMARY KEY) STRICT;

-- Commits in flight, in the order in which they were first put.
CREATE TABLE flight (
    place INTEGER PRIMARY KEY,
    request BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
