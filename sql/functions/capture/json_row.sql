/* SQL for the JSON of the row n. p_columns: its columns; p_refusing: those of them whose values a cast to
   json may refuse. */
create or replace function pg2kafka.json_row(p_columns text[], p_refusing text[])
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select case when p_refusing = '{}' then 'row_to_json(n.*)' else
  '(select row_to_json(r.*) from (select ' || string_agg(
    format(case when name = any (p_refusing) then 'pg2kafka.json_or_text(n.%1$I) as %1$I' else 'n.%I' end, name),
    ', ' order by position
  ) || ') r)'
end
from unnest(p_columns) with ordinality as c (name, position)
$$;
