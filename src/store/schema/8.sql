-- The start in whose lane an open row is; 0 in none.
ALTER TABLE delivery ADD COLUMN entered INTEGER NOT NULL DEFAULT 0;
