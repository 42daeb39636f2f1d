-- In the order in which a start reads what was open.
DROP INDEX manifest_open;
CREATE INDEX manifest_open ON manifest (broadcast, shard, number) WHERE open = 1;
