/* Make the last step of all snapshots under way again, as when the drain's lanes were gathered: its
   events may have lost their place among the others. */
create or replace function pg2kafka.rewind_snapshots()
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
delete from pg2kafka.snapshot_scans c
where exists (
  select from pg2kafka.snapshot_scans e
  where (e.snapshot_id, e.lanes, e.lane) = (c.snapshot_id, c.lanes, c.lane) and e.number < c.number
)
$$;
