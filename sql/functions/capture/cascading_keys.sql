/* The foreign keys of a table by which changes of another one change its rows, as a part of the statement
   that they answer. */
create or replace function pg2kafka.cascading_keys(p_table oid)
returns setof pg_catalog.pg_constraint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select * from pg_catalog.pg_constraint
where conrelid = p_table and contype = 'f'
  and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd'))
$$;
