-- The value of a NAME=VALUE setting as SET wants it: lists of names are stored quoted already.
-- It is a part of other queries.
CASE WHEN lower(split_part(x, '=', 1)) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries',
'shared_preload_libraries', 'local_preload_libraries', 'unix_socket_directories')
THEN coalesce(nullif(substr(x, strpos(x, '=') + 1), ''), '''''') ELSE quote_literal(substr(x, strpos(x, '=') + 1)) END
