CREATE SUBSCRIPTION g_s CONNECTION 'dbname=nowhere' PUBLICATION p, "Q" WITH (connect = false, slot_name = NONE, binary = true); ALTER SUBSCRIPTION g_s SET (slot_name = NONE)
-- record
DROP SUBSCRIPTION g_s
