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
  -- Writers go on drawing ids meanwhile; nobody draws so many.
  c_margin constant bigint := 1000000;
  v_drawn bigint;
  v_stored bigint;
  v_restored_until timestamptz;
begin
  -- In one statement, whose snapshot is older than the id: what it sees above that was not written here.
  with drawn as materialized (
    select nextval('pg2kafka.outbound_event_queue_id') as id
  )
  select d.id, greatest(
      (select max(id) from pg2kafka.outbound_event_queue), (select max(id) from pg2kafka.parked_events),
      (select max(id) from pg2kafka.delivered_events), (select max(id) from pg2kafka.discarded_events)
    ), (
      select max(created_at) from (
        select id, created_at, lead(id) over (order by id, created_at) as next_id from pg2kafka.outbound_event_queue
      ) q
      where q.id > d.id or q.id = next_id
    )
  into v_drawn, v_stored, v_restored_until
  from drawn d;
  if v_stored >= v_drawn then
    perform setval('pg2kafka.outbound_event_queue_id', v_stored + c_margin);
  end if;
  update pg2kafka.outbound_event_queue q set id = n.id
  from (
    select tableoid, ctid, nextval('pg2kafka.outbound_event_queue_id') as id
    from (
      select tableoid, ctid, id, created_at, lag(id) over (order by id, created_at) as last_id
      from pg2kafka.outbound_event_queue
      where v_restored_until is not null
      order by id
    ) e
    where id < v_drawn and (created_at > v_restored_until or id = last_id)
  ) n
  where q.tableoid = n.tableoid and q.ctid = n.ctid;
end;
$$;
