/* The keys of a JSON object, in order. */
create or replace function pg2kafka.column_names(p_columns text)
returns text[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select array_agg(key order by position)
from json_object_keys(p_columns::json) with ordinality as k (key, position)
$$;
