-- Who is told and has something more under way: another way, or a confirmation that is waited for.
ALTER TABLE progress ADD COLUMN told_open INTEGER NOT NULL DEFAULT 0;
UPDATE progress SET told = told + more.recipients, told_open = more.recipients FROM (
  SELECT broadcast, subscriber >> 48 AS shard, count(*) AS recipients FROM (
    SELECT broadcast, subscriber FROM delivery WHERE broadcast IN (SELECT id FROM broadcast WHERE state < 3)
    GROUP BY broadcast, subscriber HAVING min(state) = 0 AND max(state) = 7
  ) GROUP BY 1, 2
) AS more WHERE progress.broadcast = more.broadcast AND progress.shard = more.shard;
-- A told row in lane 65535 waits for its confirmation until due.
CREATE INDEX delivery_unconfirmed ON delivery (priority, due) WHERE lane = 65535;
