-- a materialized view whose query finds names through the search_path at run time only
-- correct: restore --search-path public restores it; LIMITS names CHECK, generated columns, indexes, domains, but no materialized views
CREATE TABLE public.c26_doc (id int PRIMARY KEY, body text, tsv tsvector);
INSERT INTO public.c26_doc SELECT g, 'word' || g || ' common', to_tsvector('simple', 'word' || g || ' common') FROM generate_series(1, 10) g;
CREATE MATERIALIZED VIEW public.c26_word AS SELECT word, ndoc FROM ts_stat('SELECT tsv FROM c26_doc');
CREATE FUNCTION public.c26_count() RETURNS bigint LANGUAGE plpgsql STABLE AS $$BEGIN RETURN (SELECT count(*) FROM c26_doc); END$$;
CREATE MATERIALIZED VIEW public.c26_n AS SELECT public.c26_count() AS n;
CREATE MATERIALIZED VIEW public.c26_on_n AS SELECT n * 2 AS n2 FROM public.c26_n;
CREATE UNIQUE INDEX c26_word_word ON public.c26_word (word);
