/* How far behind the drain is, for metrics and for people: select * from pg2kafka.status();

   backlog         events that are neither delivered nor parked, counted up to p_count_max
   lag_ms          age of the oldest of those counted; 0 when there are none
   parked          events set aside, counted up to p_count_max, and the bytes of their data
   queue_bytes     what all tables of pg2kafka take on disk

   Reads by index and no further than p_count_max rows of each kind, so it costs the same whether
   Kafka was away for a minute or for a week. An event waits when the position does not show it
   delivered (see drain_log): by id above what the position has dealt with, or by transaction where
   that was in progress in one of its snapshots. */
create or replace function pg2kafka.status(p_count_max integer default 100000)
returns table (backlog bigint, lag_ms bigint, parked bigint, parked_bytes bigint, queue_bytes bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
-- Partitions have no statistics: the planner would read all of a large backlog.
set enable_seqscan = off
set enable_bitmapscan = off
as $$
with log as materialized (
  select delivered, delivered_id, coalesce(target, delivered) as target,
    coalesce(target_id, delivered_id) as target_id, last_id
  from pg2kafka.drain_log order by number desc limit 1
), position as materialized (
  select * from log
  union all
  select '1:1:', 0, '1:1:', 0, 0 where not exists (select from log)
), waiting as (
  (
    -- What follows by id.
    select q.created_at from position p
    cross join lateral (
      select * from pg2kafka.outbound_event_queue q
      where q.id > greatest(p.last_id, p.delivered_id) order by q.id limit p_count_max
    ) q
    where not pg_visible_in_snapshot(q.xact, p.delivered)
  )
  union all
  (
    -- Drawn long ago by transactions that have ended since.
    select q.created_at from position p
    cross join lateral pg_snapshot_xip(p.delivered) as late (xact)
    cross join lateral (
      select * from pg2kafka.outbound_event_queue q
      where (q.xact, q.id) > (late.xact, p.last_id) and (q.xact, q.id) <= (late.xact, p.delivered_id)
      order by q.xact, q.id limit p_count_max
    ) q
    limit p_count_max
  )
  union all
  (
    -- In the middle of a span: newer than it, with ids that the span has passed already.
    select q.created_at from position p
    cross join lateral (
      select * from pg2kafka.outbound_event_queue q
      where q.id > p.target_id and q.id <= p.last_id order by q.id limit p_count_max
    ) q
    where not pg_visible_in_snapshot(q.xact, p.target)
  )
  union all
  (
    select q.created_at from position p
    cross join lateral pg_snapshot_xip(p.target) as late (xact)
    cross join lateral (
      select * from pg2kafka.outbound_event_queue q
      where (q.xact, q.id) >= (late.xact, 0) and (q.xact, q.id) <= (late.xact, least(p.target_id, p.last_id))
      order by q.xact, q.id limit p_count_max
    ) q
    limit p_count_max
  )
), counted as (
  select count(*) as backlog, min(created_at) as oldest_at from (select * from waiting limit p_count_max) w
), set_aside as (
  select count(*) as parked, coalesce(sum(bytes), 0)::bigint as parked_bytes
  from (select bytes from pg2kafka.parked_events order by id limit p_count_max) e
)
select c.backlog,
  coalesce(greatest(0, extract(epoch from clock_timestamp() - c.oldest_at) * 1000), 0)::bigint,
  s.parked, s.parked_bytes,
  (
    select coalesce(sum(pg_total_relation_size(t.oid)), 0)::bigint
    from pg_class t where t.relnamespace = 'pg2kafka'::regnamespace and t.relkind = 'r'
  )
from counted c, set_aside s
$$;
