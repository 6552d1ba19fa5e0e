CREATE SUBSCRIPTION g_s CONNECTION 'dbname=nowhere' PUBLICATION p, "Q" WITH (connect = false, slot_name = NONE, binary = true)
-- record
ALTER SUBSCRIPTION g_s SET PUBLICATION r WITH (refresh = false)
-- clean
ALTER SUBSCRIPTION g_s SET (slot_name = NONE); DROP SUBSCRIPTION g_s
