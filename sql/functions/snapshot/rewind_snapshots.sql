/* Take back the steps of snapshots whose events are not delivered, to be made again: the drain's lanes
   are gathered, and what they have not delivered is sent in the order of ids, in which a step's events
   would come behind changes that it did not see. Of snapshots that are over nothing is made again.

   p_lanes  the lanes as they were */
create or replace function pg2kafka.rewind_snapshots(p_lanes jsonb)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
with undone as (
  delete from pg2kafka.snapshot_steps s
  where exists (
    select from pg2kafka.waiting_spans(p_lanes) w
    where (s.lanes = 1 or (s.lanes, s.lane) = (w.lanes, w.lane)) and not pg_visible_in_snapshot(s.xact, w.delivered)
  )
  returning xact
), to_be_made_again as (
  delete from pg2kafka.snapshot_scans where xact in (select xact from undone)
)
delete from pg2kafka.outbound_event_queue
where xact = any (array(select xact from undone)) and statement = 'SNAPSHOT'
$$;
