/* Let new ids be above all that are stored: rows may have been restored without their sequences. What was
   written here since then may bear ids that restored events have; it comes to be behind those, under new
   ones. It is told by its time: later than all that can only be restored, which is what is above the
   sequence, and the first of two with the same id. */
create or replace function pg2kafka.restart_ids()
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_drawn constant bigint := nextval('pg2kafka.outbound_event_queue_id');
  v_restored_until constant timestamptz := (
    select max(created_at) from (
      select id, created_at, lead(id) over (order by id, created_at) as next_id from pg2kafka.outbound_event_queue
    ) q
    where id >= v_drawn or id = next_id
  );
begin
  perform setval('pg2kafka.outbound_event_queue_id', greatest(
    v_drawn,
    (select max(id) from pg2kafka.outbound_event_queue), (select max(id) from pg2kafka.parked_events),
    (select max(id) from pg2kafka.delivered_events), (select max(id) from pg2kafka.discarded_events)
  ));
  update pg2kafka.outbound_event_queue q set id = n.id
  from (
    select tableoid, ctid, nextval('pg2kafka.outbound_event_queue_id') as id
    from (
      select tableoid, ctid from pg2kafka.outbound_event_queue
      where id < v_drawn and created_at > v_restored_until order by id
    ) written
  ) n
  where q.tableoid = n.tableoid and q.ctid = n.ctid;
end;
$$;
