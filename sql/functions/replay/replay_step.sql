/* The next step of a replay: put some delivered events into the queue once more, in the order of
   their first ids, with new ones. Called when everything visible is delivered, or it is a replay's turn.

   p_rows_max, p_bytes_max  bounds on the ids looked at, however few are wanted; and on the stored data
                            of the events but for the first

   Returns one row:
     is_left     there are replays to go on with
     is_waiting  but not now, and nothing was done: the last step is not delivered yet, by this lane
                 or another (may_step()), or another makes one
     events      put into the queue

   Of several replays, one goes on after the other. One of which events are parked waits for them to
   be delivered or given up. The locks come in a statement before those that read: so what reclaim()
   takes out of one place is seen in the other. */
create or replace function pg2kafka.replay_step(
  p_rows_max integer, p_bytes_max bigint, out is_left boolean, out is_waiting boolean, out events bigint
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '80ms'
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_id smallint;
  v_replay pg2kafka.event_replays;
  v_end_id bigint;
  v_cut_id bigint;
begin
  perform pg2kafka.check_isolation('replay_step()');
  events := 0;
  is_waiting := false;
  select id into v_id from pg2kafka.event_replays r
  where state = 'running' and not exists (select from pg2kafka.parked_events p where p.replay = r.id)
  order by started_at, id limit 1;
  is_left := found;
  if not is_left then
    return;
  end if;
  is_waiting := true;
  select * into v_replay from pg2kafka.event_replays
  where id = v_id and state = 'running' for update skip locked;
  if v_replay.id is null then
    return;
  end if;
  begin
    lock table pg2kafka.outbound_event_queue, pg2kafka.delivered_events in access share mode;
  exception when lock_not_available then
    return;
  end;
  if not pg2kafka.may_step(v_replay) then
    return;
  end if;
  is_waiting := false;
  if v_replay.last_id >= v_replay.until_id then
    update pg2kafka.event_replays set state = 'finished', ended_at = clock_timestamp() where id = v_replay.id;
    return;
  end if;

  select coalesce(max(c.id), v_replay.until_id) into v_end_id from (
    select id from (
      (
        select id from pg2kafka.delivered_events
        where id > v_replay.last_id and id <= v_replay.until_id order by id limit p_rows_max
      )
      union all
      (
        select id from pg2kafka.outbound_event_queue
        where id > v_replay.last_id and id <= v_replay.until_id and generation >= 0 order by id limit p_rows_max
      )
    ) e
    order by id offset p_rows_max - 1 limit 1
  ) c;

  with event as materialized (
    select e.*, row_number() over w as nth, sum(pg_column_size(data)) over w as bytes
    from pg2kafka.replayable_events(v_replay, v_end_id) e
    window w as (order by id)
  ), taken as materialized (
    select * from event where nth = 1 or coalesce(bytes, 0) <= p_bytes_max
  ), made as (
    insert into pg2kafka.outbound_event_queue
      (generation, uuid, external_id, table_schema, table_name, statement, data, created_at)
    select -v_replay.id, uuid, external_id, table_schema, table_name, statement, data, created_at
    from taken order by id
    returning 1
  )
  select (select count(*) from made), case when count(*) > (select count(*) from taken) then (select max(id) from taken) end
  into events, v_cut_id from event;

  update pg2kafka.event_replays r
  set last_id = coalesce(v_cut_id, v_end_id), events = r.events + replay_step.events,
    step_xact = case when replay_step.events > 0 then pg_current_xact_id() end
  where id = v_replay.id;
end;
$$;
