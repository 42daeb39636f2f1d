-- What somebody outside says of a component: the latest word of each origin. trusted: not just anybody.
CREATE TABLE signal (
  component TEXT NOT NULL, origin TEXT NOT NULL, trusted INTEGER NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL,
  text TEXT NOT NULL, PRIMARY KEY (component, origin)
) STRICT, WITHOUT ROWID;
CREATE INDEX signal_at ON signal (at);
