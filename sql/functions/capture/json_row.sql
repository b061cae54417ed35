/* SQL for the JSON of the row n. p_columns and p_types as in capture_statement(). */
create or replace function pg2kafka.json_row(p_columns text[], p_types regtype[])
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select case when bool_or(pg2kafka.casts_to_json(type)) then
  'row_to_json((select r from (select ' || string_agg(
    case when pg2kafka.casts_to_json(type) then pg2kafka.json_value(name, type) || format(' as %I', name) else format('n.%I', name) end,
    ', ' order by position
  ) || ') r))'
else 'row_to_json(n.*)' end
from unnest(p_columns, p_types) with ordinality as c (name, type, position)
$$;
