
-- Settings, comment and privileges of the database

DO 'BEGIN EXECUTE format(''COMMENT ON DATABASE %I IS %L'', current_database(), NULL); END';
DO 'BEGIN EXECUTE format(''ALTER DATABASE %I RESET ALL'', current_database()); END';
