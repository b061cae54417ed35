/* SQL for the JSON of the row n. p_columns and p_types as in capture_statement(); p_with_cast: of these
   types those of types_with_json_cast(). p_all: any of them may be one. */
create or replace function pg2kafka.json_row(
  p_columns text[], p_types regtype[], p_with_cast regtype[], p_all boolean
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select case when p_with_cast = '{}' and not p_all then 'row_to_json(n.*)' else
  '(select row_to_json(r.*) from (select ' || string_agg(
    format(case when p_all or type = any (p_with_cast) then 'pg2kafka.json_or_text(n.%1$I) as %1$I' else 'n.%I' end, name),
    ', ' order by position
  ) || ') r)'
end
from unnest(p_columns, p_types) with ordinality as c (name, type, position)
$$;
