-- Browsers that have signed in: the digest of the word in their cookie, for which token, and until when.
CREATE TABLE session (word BLOB PRIMARY KEY, token BLOB NOT NULL, ends INTEGER NOT NULL) STRICT, WITHOUT ROWID;
