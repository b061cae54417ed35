/* Stop tracking a table. Events already in the queue are still delivered; its snapshots end.

   Locks:   ACCESS EXCLUSIVE on the table until the transaction ends: DROP TRIGGER needs it. See
            lock_table() for how it is taken.
   Errors:  a table that is not tracked: a WARNING and nothing else. */
create or replace function pg2kafka.teardown(p_table regclass)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id integer := (select id from pg2kafka.external_id_relations where relation = p_table);
  v_suffix text;
begin
  perform pg2kafka.check_owner(p_table);
  if v_id is null then
    raise warning 'pg2kafka: table % is not tracked. Skipping teardown.', p_table;
    return;
  end if;
  perform pg2kafka.lock_table(p_table, 'access exclusive');
  perform pg2kafka.drop_triggers(v_id);
  perform pg2kafka.end_snapshot(id, 'cancelled') from pg2kafka.table_snapshots where tracked_id = v_id;
  delete from pg2kafka.external_id_relations where id = v_id;
  foreach v_suffix in array array['', '_insert', '_update', '_delete'] loop
    execute format('drop function if exists pg2kafka.%I()', concat('enqueue_event_', v_id, v_suffix));
  end loop;
end;
$$;
