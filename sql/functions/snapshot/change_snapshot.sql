/* Change the state of a snapshot; to one that its caller's table is in already: nothing.

   p_from  the states that it may have
   Errors: a snapshot that is not there, or has another state; a caller who does not own the table */
create or replace function pg2kafka.change_snapshot(p_id integer, p_from text[], p_to text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_snapshot pg2kafka.table_snapshots;
begin
  select * into v_snapshot from pg2kafka.table_snapshots where id = p_id for update;
  if not found then
    raise exception 'pg2kafka: there is no snapshot %', p_id
    using errcode = 'no_data_found', hint = 'See what there is: select * from pg2kafka.snapshots';
  end if;
  perform pg2kafka.check_owner(v_snapshot.relation);
  if v_snapshot.state <> all (p_from) then
    raise exception 'pg2kafka: snapshot % is %', p_id, v_snapshot.state
    using errcode = 'object_not_in_prerequisite_state',
      hint = format('It would have to be %s. Call pg2kafka.snapshot() for another.', array_to_string(p_from, ' or '));
  end if;
  perform pg2kafka.end_snapshot(p_id, p_to) where p_to = 'cancelled';
  update pg2kafka.table_snapshots set state = p_to where id = p_id and p_to <> 'cancelled';
end;
$$;
