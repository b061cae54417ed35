/* SQL for rows with these columns only. p_rows is SQL for rows that have more: those that
   stored_columns() leaves out fail the write where a query on a transition table names them. */
create or replace function pg2kafka.with_columns(p_columns text[], p_rows text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select format('(select %s from %s r offset 0)', string_agg(format('r.%I', name), ', ' order by position), p_rows)
from unnest(p_columns) with ordinality as c (name, position)
$$;
