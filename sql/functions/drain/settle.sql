/* Note that a batch was dealt with: its events are in Kafka, or parked here.

   p_number, p_token   the log entry that the drain wrote last, and its fencing token
   p_lease_ms          the lease is renewed for this long
   p_delivered ... p_last_id  the new position, as in drain_log
   p_parked            events to set aside: [{id, topic, scope, code, reason, retriable}]
   p_retried           parked events that were refused again, likewise
   p_unparked          ids of parked events that are in Kafka now
   p_parked_max, p_parked_bytes_max  bounds on all that is parked

   Returns the number of the log's new entry; null when stale: then nothing was changed.
   Errors: PK001 when the bounds would be exceeded: then nothing was changed. */
create or replace function pg2kafka.settle(
  p_number bigint, p_token bigint, p_lease_ms integer,
  p_delivered pg_snapshot, p_delivered_id bigint, p_target pg_snapshot, p_target_id bigint, p_last_id bigint,
  p_parked jsonb, p_retried jsonb, p_unparked bigint[], p_parked_max integer, p_parked_bytes_max bigint
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_number bigint := pg2kafka.append_log(
    p_number, p_token, p_lease_ms, p_delivered, p_delivered_id, p_target, p_target_id, p_last_id
  );
  v_count bigint;
  v_bytes bigint;
begin
  if v_number is null then
    return null;
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
      (id, uuid, external_id, table_schema, table_name, statement, data, created_at, topic, scope, code, reason, retriable)
    select q.id, q.uuid, q.external_id, q.table_schema, q.table_name, q.statement, q.data, q.created_at,
      p.topic, p.scope, p.code, p.reason, p.retriable
    from jsonb_to_recordset(p_parked) as p (id bigint, topic text, scope text, code text, reason text, retriable boolean)
    join pg2kafka.outbound_event_queue q using (id);

    select count(*), sum(bytes) into v_count, v_bytes from pg2kafka.parked_events;
    if v_count > p_parked_max or v_bytes > p_parked_bytes_max then
      raise exception 'pg2kafka: % events of % bytes would be parked; the bounds are % events and % bytes',
        v_count, v_bytes, p_parked_max, p_parked_bytes_max
      using errcode = 'PK001',
        hint = 'See what is parked: select * from pg2kafka.parked. Mend the cause, then pg2kafka.requeue(), or pg2kafka.discard().';
    end if;
  end if;
  return v_number;
end;
$$;
