/* The partitions or inheritance children of a table, at all levels, without the table itself, and
   without temporary ones, which are another session's. */
create or replace function pg2kafka.table_members(p_table regclass)
returns table (relation regclass, is_partition boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
with recursive member as (
  select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = p_table
  union
  select i.inhrelid from pg_catalog.pg_inherits i join member m on i.inhparent = m.inhrelid
)
select m.inhrelid::regclass, c.relispartition
from member m
join pg_catalog.pg_class c on c.oid = m.inhrelid and c.relpersistence <> 't'
$$;
