CREATE VIEW v AS SELECT 'today'::date AS d, 'today'::text AS t
