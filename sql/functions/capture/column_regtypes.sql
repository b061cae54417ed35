/* The types of columns, in order. p_types as column_types() has them. */
create or replace function pg2kafka.column_regtypes(p_types text)
returns regtype[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select array_agg(value::regtype order by position)
from json_each_text(p_types::json) with ordinality as c (key, value, position)
$$;
