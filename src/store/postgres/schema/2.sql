-- Browsers that have signed in: the digest of the word in their cookie, for which token, and until when.
CREATE TABLE session (word BYTEA PRIMARY KEY, token BYTEA NOT NULL, ends BIGINT NOT NULL);
