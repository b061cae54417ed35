/* How far behind the drain is, for metrics and for people: select * from pg2kafka.status();

   backlog         events that are neither delivered nor parked, counted up to p_count_max
   lag_ms          age of the oldest of those counted, but for replays; 0 when there are none
   parked          events set aside, counted up to p_count_max, and the bytes of their data
   queue_bytes     what all tables of pg2kafka take on disk, but for
   kept_bytes      what delivered events take that are kept

   Reads by index and no further than p_count_max rows of each kind, so it costs the same whether
   Kafka was away for a minute or for a week. What waits: see waiting_spans(). */
create or replace function pg2kafka.status(p_count_max integer default 100000)
returns table (backlog bigint, lag_ms bigint, parked bigint, parked_bytes bigint, queue_bytes bigint, kept_bytes bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
-- Partitions have no statistics: the planner would read all of a large backlog.
set enable_seqscan = off
set enable_bitmapscan = off
as $$
with span as materialized (
  select w.*
  from pg2kafka.last_entry() e
  cross join pg2kafka.waiting_spans(e.lanes) w
), waiting as (
  (
    -- What follows by id.
    select q.created_at, q.generation from span s
    cross join lateral (
      select * from pg2kafka.outbound_event_queue q
      where q.id > greatest(s.last_id, s.delivered_id)
        and pg2kafka.is_of_share(q.external_id, s.lane, s.lanes)
        and not pg_visible_in_snapshot(q.xact, s.delivered)
        and (s.target is null or pg_visible_in_snapshot(q.xact, s.target))
      order by q.id limit p_count_max
    ) q
    limit p_count_max
  )
  union all
  (
    -- Drawn long ago by transactions that have ended since.
    select q.created_at, q.generation from span s
    cross join lateral pg_snapshot_xip(s.delivered) as late (xact)
    cross join lateral (
      select * from pg2kafka.outbound_event_queue q
      where (q.xact, q.id) > (late.xact, s.last_id) and (q.xact, q.id) <= (late.xact, s.delivered_id)
        and pg2kafka.is_of_share(q.external_id, s.lane, s.lanes)
        and (s.target is null or pg_visible_in_snapshot(q.xact, s.target))
      order by q.xact, q.id limit p_count_max
    ) q
    limit p_count_max
  )
), counted as (
  select count(*) as backlog, min(created_at) filter (where generation >= 0) as oldest_at from (select * from waiting limit p_count_max) w
), set_aside as (
  select count(*) as parked, coalesce(sum(bytes), 0)::bigint as parked_bytes
  from (select bytes from pg2kafka.parked_events order by id limit p_count_max) e
)
select c.backlog,
  coalesce(greatest(0, extract(epoch from clock_timestamp() - c.oldest_at) * 1000), 0)::bigint,
  s.parked, s.parked_bytes,
  (
    select coalesce(sum(pg_total_relation_size(t.oid)), 0)::bigint - k.bytes
    from pg_class t where t.relnamespace = 'pg2kafka'::regnamespace and t.relkind = 'r'
  ),
  k.bytes
from counted c, set_aside s, pg2kafka.kept_bytes() k (bytes)
$$;
