/* Whether other changes can change rows of a table, by one of its foreign keys. Such a change is a
   part of the statement that it answers. */
create or replace function pg2kafka.is_cascaded_to(p_relation oid)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select exists (
  select from pg_catalog.pg_constraint
  where conrelid = p_relation and contype = 'f'
    and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd'))
)
$$;
