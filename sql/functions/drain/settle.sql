/* Note that a batch was dealt with: its events are in Kafka, or parked here.

   p_lane, p_lease     the drain's lane, and its lease
   p_lease_ms          the lease is renewed for this long; 0 gives it back
   p_position          the new position, as in first_lane()
   p_transaction       the drain's own: what it knows of its transactions in Kafka,
                       {sent: {number, id}, begun: {number, id, settlement}}; null where it makes none
   p_gather            ask the other lanes to stop, so that lane 0 can go on alone
   p_parked            events to set aside: [{id, topic, scope, code, reason, retriable}]
   p_retried           parked events that were refused again, likewise
   p_unparked          ids of parked events that are in Kafka now
   p_parked_max, p_parked_bytes_max  bounds on all that is parked; on its bytes but for the largest, which may have any size

   Returns whether lane 0 is to go on alone; null when stale: then nothing was changed.
   Errors: PK001 when the bounds would be exceeded: then nothing was changed. */
create or replace function pg2kafka.settle(
  p_lane integer, p_lease uuid, p_lease_ms integer, p_position jsonb, p_transaction jsonb,
  p_gather boolean,
  p_parked jsonb, p_retried jsonb, p_unparked bigint[], p_parked_max integer, p_parked_bytes_max bigint
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  -- Who is not first has waited for who was, so each try has brought another lane on.
  c_tries constant integer := 1000;
  v_settled constant jsonb := jsonb_build_object(
    'leased_until', clock_timestamp() + p_lease_ms * interval '1 millisecond',
    'position', p_position, 'transaction', p_transaction
  );
  v_log record;
  v_is_settled boolean := false;
  v_count bigint;
  v_bytes bigint;
begin
  -- Before Kafka commits a batch it must be certain here that it was begun. With that, all before it is
  -- on disk, too: what is in the batch.
  if p_transaction -> 'begun' <> 'null' and current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  for v_try in 1..c_tries loop
    select * into v_log from pg2kafka.last_entry();
    if v_log.restored or not pg2kafka.holds_lease(v_log.lanes, p_lane, p_lease) then
      return null;
    end if;
    v_log.is_gathering := v_log.is_gathering or p_gather;
    v_is_settled := pg2kafka.append_log(
      v_log.number, jsonb_set(v_log.lanes, array[p_lane::text], v_log.lanes -> p_lane || v_settled), v_log.is_gathering
    );
    exit when v_is_settled;
  end loop;
  if not v_is_settled then
    raise exception 'pg2kafka: other lanes were faster % times', c_tries
    using errcode = 'lock_not_available', hint = 'Run fewer lanes.';
  end if;
  if p_unparked <> '{}' then
    delete from pg2kafka.parked_events where id = any (p_unparked);
  end if;
  if p_retried <> '[]' then
    update pg2kafka.parked_events e
    set topic = r.topic, scope = r.scope, code = r.code, reason = r.reason, retriable = r.retriable,
      attempts = attempts + 1, tried_at = now()
    from jsonb_to_recordset(p_retried) as r (id bigint, topic text, scope text, code text, reason text, retriable boolean)
    where e.id = r.id;
  end if;
  if p_parked <> '[]' then
    insert into pg2kafka.parked_events
      (id, uuid, external_id, table_schema, table_name, statement, data, created_at, replay, topic, scope, code, reason, retriable)
    select q.id, q.uuid, q.external_id, q.table_schema, q.table_name, q.statement, q.data, q.created_at,
      case when q.generation < 0 then -q.generation end, p.topic, p.scope, p.code, p.reason, p.retriable
    from jsonb_to_recordset(p_parked) as p (id bigint, topic text, scope text, code text, reason text, retriable boolean)
    join pg2kafka.outbound_event_queue q using (id)
    order by q.id
    -- A batch that is read once more may have been parked before, and what is before it now may not.
    on conflict (id) do update set place = default;

    select count(*), sum(bytes) - max(bytes) into v_count, v_bytes from pg2kafka.parked_events;
    if v_count > p_parked_max or v_bytes > p_parked_bytes_max then
      raise exception 'pg2kafka: % events would be parked, of % bytes besides the largest; the bounds are % events and % bytes',
        v_count, v_bytes, p_parked_max, p_parked_bytes_max
      using errcode = 'PK001',
        hint = 'See what is parked: select * from pg2kafka.parked. Mend the cause, then pg2kafka.requeue(), or pg2kafka.discard().';
    end if;
  end if;
  return v_log.is_gathering;
end;
$$;
