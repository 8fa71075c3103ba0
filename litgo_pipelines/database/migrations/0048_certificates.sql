-- When the certificates of a service's hosts end, as its calls saw them: host → seconds since 1970.
ALTER TABLE litgo.circuit_breakers ADD COLUMN certificates jsonb NOT NULL DEFAULT '{}';
