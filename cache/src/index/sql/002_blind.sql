-- 1: programs may write to the backing file unseen (passthrough).
ALTER TABLE content ADD COLUMN blind INTEGER NOT NULL DEFAULT 0;
