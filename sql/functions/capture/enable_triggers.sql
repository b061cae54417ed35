/* Let the triggers of a tracked table fire ALWAYS again, where they fire otherwise.

   Locks: SHARE ROW EXCLUSIVE on each relation that has such a trigger. */
create or replace function pg2kafka.enable_triggers(p_id integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_relation regclass := (select relation from pg2kafka.external_id_relations where id = p_id);
  v_trigger record;
begin
  for v_trigger in
    select t.relation, n.name
    from (select v_relation as relation union all select m.relation from pg2kafka.table_members(v_relation) m) t
    cross join pg2kafka.triggers_not_always(p_id, t.relation) n (name)
  loop
    execute format('alter table only %s enable always trigger %I', v_trigger.relation, v_trigger.name);
  end loop;
end;
$$;
