/* Take back the last step of each lane for all snapshots under way, to be made again: the drain's
   lanes were gathered, and what they have not delivered is sent in the order of ids, in which a
   step's events would come behind changes that it did not see. */
create or replace function pg2kafka.rewind_snapshots()
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
with undone as (
  delete from pg2kafka.snapshot_scans c
  where exists (
    select from pg2kafka.snapshot_scans e
    where (e.snapshot_id, e.lanes, e.lane) = (c.snapshot_id, c.lanes, c.lane) and e.number < c.number
  )
  returning xact
)
delete from pg2kafka.outbound_event_queue where xact in (select xact from undone)
$$;
