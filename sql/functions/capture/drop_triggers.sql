/* Remove from a tracked table, its partitions and children every trigger of pg2kafka, those of
   the Go service too. Partitions' copies of row triggers go with the original.

   Locks: ACCESS EXCLUSIVE on each, until the transaction ends. */
create or replace function pg2kafka.drop_triggers(p_id integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_trigger record;
begin
  for v_trigger in
    select t.tgrelid::regclass as relation, t.tgname as name
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'pg2kafka'::regnamespace
    join pg2kafka.external_id_relations r on r.id = p_id
    where pg2kafka.is_capture_of(f.proname, p_id)
      or t.tgrelid = r.relation and f.proname in ('open_statement', 'enqueue_event')
  loop
    -- A partition's copy may be gone with its original by now.
    if exists (select from pg_catalog.pg_trigger where tgrelid = v_trigger.relation and tgname = v_trigger.name) then
      begin
        execute format('drop trigger %I on %s', v_trigger.name, v_trigger.relation);
      exception when dependent_objects_still_exist then
        null;
      end;
    end if;
  end loop;
end;
$$;
