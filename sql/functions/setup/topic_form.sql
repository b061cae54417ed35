/* What Kafka tells tables' topics apart by: the part that a schema and a table add, with '.' and '_'
   as one. A dot inside of a name is no '.' there (functions/core/topic.ts writes it in hexadecimal). */
create or replace function pg2kafka.topic_form(p_schema text, p_table text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select string_agg(replace(replace(name, '-', '-2D'), '.', '-2E'), '_' order by position)
from unnest(array[nullif(p_schema, 'public'), p_table]) with ordinality as n (name, position)
$$;
