/* Take the lease of the drain, where the position read was the last and nobody holds it.

   Where the position means nothing here (read_position(): restored), every event is given to
   this transaction, and the position begins before all of them.

   Returns the number of the log's new entry, which is the fencing token; null when somebody
   else was faster, or still holds the lease. */
create or replace function pg2kafka.take_lease(p_number bigint, p_lease_ms integer)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_position record;
  v_number bigint;
begin
  select * into v_position from pg2kafka.read_position();
  if v_position.number <> p_number or v_position.is_leased or v_position.is_paused then
    return null;
  end if;
  if not v_position.restored then
    return pg2kafka.append_log(
      p_number, null, p_lease_ms, v_position.delivered, v_position.delivered_id,
      v_position.target, v_position.target_id, v_position.last_id
    );
  end if;
  v_number := pg2kafka.append_log(p_number, null, p_lease_ms, '1:1:', 0, null, null, 0);
  if v_number is not null then
    perform setval('pg2kafka.outbound_event_queue_id', greatest(
      nextval('pg2kafka.outbound_event_queue_id'),
      (select max(id) from pg2kafka.outbound_event_queue)
    ));
    update pg2kafka.outbound_event_queue set xact = pg_current_xact_id();
  end if;
  return v_number;
end;
$$;
