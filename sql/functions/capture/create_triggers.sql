/* Put the triggers of a tracked table in place, instead of those that pg2kafka has on it.

   They fire ALWAYS: also for writers with session_replication_role = replica.
   Locks: the caller holds SHARE ROW EXCLUSIVE on the table. */
create or replace function pg2kafka.create_triggers(p_id integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_table regclass := (select relation from pg2kafka.external_id_relations where id = p_id);
  v_function text := 'pg2kafka.enqueue_event_' || p_id;
  v_call text := v_function || '()';
begin
  perform pg2kafka.drop_triggers(p_id);
  if not pg2kafka.captured_by_row(v_table) then
    perform pg2kafka.create_trigger(v_table, '_open', 'before insert or update or delete', 'for each statement', 'pg2kafka.open_statement()'),
      pg2kafka.create_trigger(v_table, '_insert', 'after insert', 'referencing new table as new_rows for each statement', v_function || '_insert()'),
      pg2kafka.create_trigger(v_table, '_update', 'after update', 'referencing old table as old_rows new table as new_rows for each statement', v_function || '_update()'),
      pg2kafka.create_trigger(v_table, '_delete', 'after delete', 'referencing old table as old_rows for each statement', v_function || '_delete()'),
      pg2kafka.create_trigger(v_table, '', 'after truncate', 'for each statement', v_call);
    return;
  end if;

  /* The row trigger's name sorts first, so that the event of a change comes before those of
     what the application's own triggers change in answer. Postgres puts the row trigger of a
     partitioned table on its partitions by itself, also on those attached later. */
  if exists (select from pg2kafka.table_members(v_table) where not is_partition) then
    select v_function || format('(%L, %L)', table_schema, table_name) into v_call
    from pg2kafka.external_id_relations where id = p_id;
  end if;
  perform pg2kafka.create_trigger(v_table, '', 'after truncate', 'for each statement', v_call),
    pg2kafka.create_trigger(v_table, '_before', 'before truncate', 'for each statement', v_call),
    pg2kafka.create_trigger(v_table, '!', 'after insert or update or delete', 'for each row', v_function || '()');
  perform pg2kafka.create_member_triggers(p_id);
end;
$$;
