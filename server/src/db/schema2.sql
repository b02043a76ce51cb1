-- Version 2: the store may forget. `age` is milliseconds of the store's own age clock, which runs
-- only while the store does and so never jumps (see ages.rs).
ALTER TABLE store ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN collections INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN condemnations INTEGER NOT NULL DEFAULT 0; -- grows with each job that condemns

ALTER TABLE node ADD COLUMN gone_age INTEGER;                    -- when it went to the trash
ALTER TABLE node ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;   -- 1: only its id is left
ALTER TABLE version ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN age INTEGER NOT NULL DEFAULT 0;

ALTER TABLE chunk ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;   -- 1: all of `refs` were known to be stored
ALTER TABLE chunk ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;   -- the age until which nobody condemns it
ALTER TABLE chunk ADD COLUMN condemned INTEGER;                  -- the collection that found it unused
ALTER TABLE chunk ADD COLUMN condemned_age INTEGER;

ALTER TABLE pack ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pack ADD COLUMN held INTEGER;                        -- the age at which it held no chunk any more
ALTER TABLE pack ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;  -- 1: some of its chunks were given up
ALTER TABLE pack ADD COLUMN refs_known INTEGER NOT NULL DEFAULT 0; -- 0: older than this schema; see backfill
ALTER TABLE pack ADD COLUMN scrubbed INTEGER NOT NULL DEFAULT 0;

-- The age clock starts at the last commit, or at this machine's time when there was none.
UPDATE store SET age = coalesce(
  (SELECT max(stored_ms) FROM log JOIN drive ON drive.num = log.drive AND log.rev = drive.head),
  unixepoch() * 1000);
UPDATE version SET age = min(stored_ms, (SELECT age FROM store));
UPDATE log SET age = min(stored_ms, (SELECT age FROM store));
UPDATE pack SET age = min(stored_ms, (SELECT age FROM store));
UPDATE node SET gone_age = coalesce(
  (SELECT age FROM log WHERE log.drive = node.drive AND log.rev = node.meta_rev),
  (SELECT age FROM store)) WHERE live = 0;

CREATE INDEX node_purge ON node (drive, gone_age) WHERE live = 0;
CREATE INDEX chunk_page ON chunk (drive, id) WHERE refs IS NOT NULL;
CREATE INDEX log_device ON log (drive, device, rev);
CREATE INDEX log_time ON log (drive, stored_ms);
