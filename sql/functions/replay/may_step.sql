/* Whether a replay may go on: what its last step has put into the queue is delivered by all
   lanes. So one step at most is before the live events, and a replay does not fill the queue. */
create or replace function pg2kafka.may_step(p_replay pg2kafka.event_replays)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
with span as materialized (
  select w.* from pg2kafka.last_entry() e cross join pg2kafka.waiting_spans(e.lanes) w
)
select not exists (
  select from pg2kafka.outbound_event_queue_replayed q
  cross join span s
  where q.xact = p_replay.step_xact and q.generation = -p_replay.id
    and pg2kafka.is_waiting(q.xact, q.id, q.external_id, s.lane, s.lanes, s.delivered, s.target, s.last_id)
)
$$;
