-- What retention looks for, without reading whole tables.
CREATE INDEX event_incident ON event (incident);
CREATE INDEX incident_alias_incident ON incident_alias (incident);
CREATE INDEX incident_closed ON incident (closed) WHERE closed IS NOT NULL;
CREATE INDEX wording_digest ON wording (digest);
CREATE INDEX dead_record_at ON dead_record (at);
CREATE INDEX journal_at ON journal (at);
CREATE INDEX receipt_at ON receipt (at);
CREATE INDEX subscriber_past_at ON subscriber_past (at);
