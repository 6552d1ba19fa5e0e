-- ADD COLUMN with a stable default of a type whose arrays have another delimiter than a comma (box), or odd quoting
-- correct: the source's values; no stop
CREATE TABLE c24_t (id int PRIMARY KEY);
INSERT INTO c24_t SELECT generate_series(1, 5);
ALTER TABLE c24_t ADD COLUMN area box DEFAULT box(point(0, 0), point(extract(epoch FROM now())::float8, 1));
ALTER TABLE c24_t ADD COLUMN areas box[] DEFAULT ARRAY[box(point(0, 0), point(extract(epoch FROM now())::float8, 1)), box(point(1, 1), point(2, 2))];
ALTER TABLE c24_t ADD COLUMN p point DEFAULT point(extract(epoch FROM now())::float8, 1), ADD COLUMN c circle DEFAULT circle(point(extract(epoch FROM now())::float8, 1), 2);
ALTER TABLE c24_t ADD COLUMN txt text DEFAULT 'a,"b",{c}\' || now()::text, ADD COLUMN nul text DEFAULT nullif(now()::text, now()::text), ADD COLUMN word text DEFAULT left('NULL' || now()::text, 4), ADD COLUMN nothing text DEFAULT left(now()::text, 0);
ALTER TABLE c24_t ADD COLUMN arr int[] DEFAULT ('[0:1]={' || extract(day FROM now()) || ',NULL}')::int[], ADD COLUMN two int[] DEFAULT ARRAY[[1, 2], [3, extract(day FROM now())::int]];
ALTER TABLE c24_t ADD COLUMN j jsonb DEFAULT jsonb_build_object('at', now(), 'q', '"\{}'), ADD COLUMN r tstzrange DEFAULT tstzrange(now(), NULL), ADD COLUMN b bytea DEFAULT convert_to(now()::text, 'UTF8'), ADD COLUMN m money DEFAULT extract(day FROM now())::int::money;
CREATE TYPE c24_row AS (a text, b timestamptz);
ALTER TABLE c24_t ADD COLUMN comp c24_row DEFAULT ROW('x,"y"', now())::c24_row;
UPDATE c24_t SET id = id + 10 WHERE id > 3;
