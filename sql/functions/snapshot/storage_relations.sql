/* The relations that hold a table's rows: itself, or its partitions, or its children as well; with
   what tells one file from the next (see pg_relation_filenode) and their length in blocks.

   Errors: one that is a foreign table, which has no blocks */
create or replace function pg2kafka.storage_relations(p_table regclass)
returns table (relation regclass, filenode oid, blocks bigint)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select t.relation, pg_relation_filenode(t.relation),
    pg_relation_size(t.relation) / current_setting('block_size')::bigint
  from (select p_table as relation union all select m.relation from pg2kafka.table_members(p_table) m) t
  join pg_catalog.pg_class c on c.oid = t.relation and c.relkind = 'r'
  order by t.relation::oid;

  if exists (
    select from pg2kafka.table_members(p_table) m
    join pg_catalog.pg_class c on c.oid = m.relation and c.relkind = 'f'
  ) then
    raise exception 'pg2kafka: table % has a foreign table for a partition: its rows cannot be read in steps', p_table
    using errcode = 'wrong_object_type', hint = 'Detach the foreign table, or track its neighbours one by one.';
  end if;
end;
$$;
