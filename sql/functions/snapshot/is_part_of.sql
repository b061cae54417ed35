/* Whether a relation is there, and holds rows of a table: itself, a partition, a child. */
create or replace function pg2kafka.is_part_of(p_relation regclass, p_table regclass)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
select case
  when not exists (select from pg_catalog.pg_class where oid = p_relation) then false
  when p_relation = p_table or pg_partition_root(p_relation) = p_table then true
  else p_relation in (select relation from pg2kafka.table_members(p_table))
end
$$;
