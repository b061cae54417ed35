/* Whether a table's changes must be captured row by row rather than once a statement.

   Triggers for each statement see only writes that name their own table: not those that name a
   partition, also one attached later, or another table of an inheritance tree, and not those
   that logical replication applies.

   Nor do they show in which order one statement's cascades updated and deleted the same row,
   which takes two foreign keys. */
create or replace function pg2kafka.captured_by_row(p_table regclass)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select exists (select from pg_catalog.pg_class where oid = p_table and relkind = 'p')
  or exists (select from pg_catalog.pg_inherits where p_table in (inhrelid, inhparent))
  or exists (select from pg_catalog.pg_subscription_rel where srrelid = p_table)
  or (
    select count(*) > 1 and bool_or(confdeltype = 'c') and bool_or(confdeltype in ('n', 'd') or confupdtype in ('c', 'n', 'd'))
    from pg2kafka.cascading_keys(p_table)
  )
$$;
