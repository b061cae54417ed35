/* What an invocation of the drain starts from, for lane p_lane.

   lanes           how many share the queue now; the first does what is not shared
   is_leased       another drain works on this lane
   is_rearranged   the lanes are, or are to be, arranged in another way than for p_lanes: then
                   there may be work, though the lane's own share has none
   restored        see last_entry()
   is_reclaimable  reclaim() may find something to empty, or forget_kept(), with p_keep_ms
   is_snapshotting a snapshot of a table is under way, see snapshot_step()
   is_replaying    a replay is, see replay_step() */
create or replace function pg2kafka.read_state(p_lane integer, p_lanes integer, p_keep_ms bigint default 0)
returns table (
  queue_id uuid, database name, schema_version text, is_paused boolean, lanes integer, is_leased boolean,
  is_rearranged boolean, restored boolean, is_reclaimable boolean, is_snapshotting boolean,
  is_replaying boolean,
  "position" jsonb
)
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select c.queue_id, current_database(), c.schema_version, c.paused_at is not null, n.lanes,
  coalesce((l.state ->> 'leased_until')::timestamptz > clock_timestamp(), false),
  n.lanes > 1 and (e.is_gathering or n.lanes <> p_lanes),
  e.restored, exists (select from pg2kafka.resting_generations()) or exists (
    select from pg2kafka.delivered_slices where ended_at <= clock_timestamp() - p_keep_ms * interval '1 millisecond'
  ),
  exists (select from pg2kafka.table_snapshots where state = 'running'),
  exists (select from pg2kafka.event_replays where state = 'running'), l.state -> 'position'
from pg2kafka.control c
cross join pg2kafka.last_entry() e
cross join jsonb_array_length(e.lanes) n (lanes)
cross join lateral (select e.lanes -> least(p_lane, n.lanes - 1) as state) l
$$;
