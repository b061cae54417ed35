/* Replace the trigger that the Go service left on a table. Its rows are in Kafka already, so no
   snapshot is made. Until then enqueue_event() captures the table.

   Locks: as teardown(), whose DROP TRIGGER it needs. */
create or replace function pg2kafka.adopt_table(p_id integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg2kafka.lock_table(relation, 'access exclusive') from pg2kafka.external_id_relations where id = p_id;
  perform pg2kafka.compile_capture(p_id);
  perform pg2kafka.create_triggers(p_id);
end;
$$;
