/* Put on the partitions or children of a tracked table the triggers that Postgres does not put
   there by itself, where they are missing: for TRUNCATE, and on children those for rows, with
   the name that their events bear. Those of another tracked table go: it was itself tracked before it
   was attached, or belonged to another one.

   Locks: SHARE ROW EXCLUSIVE on each of them that gets a trigger, ACCESS EXCLUSIVE where one goes. */
create or replace function pg2kafka.create_member_triggers(p_id integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_member regclass;
  v_call text;
  v_other name;
begin
  for v_member, v_call in
    select m.relation,
      format(
        'pg2kafka.%I(%s)', 'enqueue_event_' || r.id,
        case when m.is_partition then '''partition''' else format('%L, %L', r.table_schema, r.table_name) end
      )
    from pg2kafka.external_id_relations r
    cross join pg2kafka.table_members(r.relation) m
    where r.id = p_id and not pg2kafka.has_member_triggers(r.id, m.relation)
  loop
    for v_other in
      select t.tgname
      from pg_catalog.pg_trigger t
      join pg_catalog.pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'pg2kafka'::regnamespace
      where t.tgrelid = v_member and t.tgparentid = 0 and not pg2kafka.is_capture_of(f.proname, p_id)
    loop
      execute format('drop trigger %I on %s', v_other, v_member);
    end loop;
    perform pg2kafka.create_trigger(v_member, '_before', 'before truncate', 'for each statement', v_call);
    if v_call not like '%(''partition'')' then
      perform pg2kafka.create_trigger(v_member, '!', 'after insert or update or delete', 'for each row', v_call);
    end if;
  end loop;
end;
$$;
