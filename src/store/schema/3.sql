-- The broadcasts of a thread that have not ended: a long incident has many that have.
CREATE INDEX broadcast_thread ON broadcast (incident, audience) WHERE state < 3;
