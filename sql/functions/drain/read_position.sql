/* What an invocation of the drain starts from: the queue, its lease and its position.

   restored        the position means nothing here: the database was restored into another
                   cluster, or its transaction ids went back. take_lease() then begins anew, and
                   everything that is in the queue is sent, some of it again.
   is_reclaimable  reclaim() may find something to empty */
create or replace function pg2kafka.read_position()
returns table (
  queue_id uuid, database name, schema_version text, is_paused boolean, is_leased boolean, restored boolean,
  is_reclaimable boolean, number bigint, delivered pg_snapshot, delivered_id bigint, target pg_snapshot,
  target_id bigint, last_id bigint
)
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select c.queue_id, current_database(), c.schema_version, c.paused_at is not null,
  coalesce(l.leased_until > clock_timestamp(), false),
  coalesce(
    l.system_identifier <> s.system_identifier
      or pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax(coalesce(l.target, l.delivered)),
    false
  ),
  exists (select from pg2kafka.resting_generations()),
  coalesce(l.number, 0), coalesce(l.delivered, '1:1:'), coalesce(l.delivered_id, 0), l.target, l.target_id,
  coalesce(l.last_id, 0)
from pg2kafka.control c
cross join pg_control_system() s
left join lateral (select * from pg2kafka.drain_log order by number desc limit 1) l on true
$$;
