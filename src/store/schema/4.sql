-- Who somebody was when it was decided for them, whole: a decision can be checked after they have changed.
ALTER TABLE subscriber_past ADD COLUMN flags INTEGER;
ALTER TABLE subscriber_past ADD COLUMN quiet INTEGER;
ALTER TABLE subscriber_past ADD COLUMN severity INTEGER;
ALTER TABLE subscriber_past ADD COLUMN interests BLOB;
