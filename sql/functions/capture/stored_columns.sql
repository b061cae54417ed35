/* Those of a table's columns that have values in its triggers: all but virtual generated ones, of
   which Postgres computes none there, and refuses a transition table's. */
create or replace function pg2kafka.stored_columns(p_columns text[], p_table oid)
returns text[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select array_agg(name order by position)
from unnest(p_columns) with ordinality as c (name, position)
where not exists (
  select from pg_catalog.pg_attribute a where a.attrelid = p_table and a.attname = c.name and a.attgenerated = 'v'
)
$$;
