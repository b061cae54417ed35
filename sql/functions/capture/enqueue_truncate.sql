/* TRUNCATE of a table that is captured by row. Of a partitioned table itself: one TRUNCATE event.
   Of one partition or child, which leaves the others full: a DELETE event for each of its rows,
   made before they go, unless it is truncated together with the table. So too for the table at
   the top of an inheritance tree: TRUNCATE ONLY leaves its children full. Where the rows may not be read,
   for the partition has another owner or policies: an event that was not captured, which is parked.

   p_arguments  of the trigger: none on a tracked table that stands for all its rows, 'partition'
                on a partition, else the schema and the name that the events bear
   p_name       schema and name that the events bear */
create or replace function pg2kafka.enqueue_truncate(
  p_id integer, p_relation oid, p_when text, p_arguments text[], p_name text[]
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set row_security = off
as $$
declare
  v_tracked pg2kafka.external_id_relations;
  v_root oid := coalesce(pg_partition_root(p_relation), p_relation);
begin
  if p_arguments is null then
    if p_when = 'AFTER' then
      insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)
      values (null, p_name[1], p_name[2], 'TRUNCATE', '{}');
    end if;
    perform set_config('pg2kafka.truncating', case p_when when 'BEFORE' then p_id::text else '' end, true);
    return;
  end if;
  if p_when = 'AFTER' or current_setting('pg2kafka.truncating', true) = p_id::text
    or cardinality(p_arguments) = 1 and v_root = p_relation
  then
    -- The last: a partition no more, detached since.
    return;
  end if;
  select * into v_tracked from pg2kafka.external_id_relations where id = p_id;
  if cardinality(p_arguments) = 1 and v_root <> v_tracked.relation then
    return; -- Another table's partition by now.
  end if;
  begin
    execute pg2kafka.capture_current_statement(
      'DELETE', null,
      pg2kafka.external_id_column(
        pg2kafka.column_names(pg2kafka.table_columns(p_relation)), v_tracked.external_id,
        v_root, v_tracked.relation, v_tracked.external_id_attnum
      ),
      '$1[1], $1[2]', format('only %s', p_relation::regclass), null, true
    ) using p_name;
  exception when insufficient_privilege then
    insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)
    values (null, p_name[1], p_name[2], 'DELETE', null);
  end;
end;
$$;
