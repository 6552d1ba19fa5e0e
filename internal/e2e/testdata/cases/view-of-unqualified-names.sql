-- works on 15; with a target of 17 or later REFRESH has a safe search_path whatever the session says
INSERT INTO c26_doc VALUES (100, 'late', to_tsvector('simple', 'late'));
REFRESH MATERIALIZED VIEW c26_word;
REFRESH MATERIALIZED VIEW CONCURRENTLY c26_word;
CREATE MATERIALIZED VIEW c26_stream AS SELECT c26_count() AS n;
REFRESH MATERIALIZED VIEW c26_n;
REFRESH MATERIALIZED VIEW c26_on_n;
