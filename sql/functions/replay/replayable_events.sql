/* The events that a replay sends again, from its last_id to p_end_id: each once, in the order of ids. What
   is kept may be in the queue still. Of the queue: what is delivered. What is parked, or given up,
   was not. */
create or replace function pg2kafka.replayable_events(p_replay pg2kafka.event_replays, p_end_id bigint)
returns table (
  id bigint, uuid uuid, external_id text, table_schema text, table_name text, statement text, data json,
  created_at timestamptz
)
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
with span as materialized (
  select w.* from pg2kafka.last_entry() e cross join pg2kafka.waiting_spans(e.lanes) w
)
select distinct on (e.id) e.* from (
  select d.id, d.uuid, d.external_id, d.table_schema, d.table_name, d.statement, d.data, d.created_at
  from pg2kafka.delivered_events d
  where d.id > p_replay.last_id and d.id <= p_end_id
  union all
  select q.id, q.uuid, q.external_id, q.table_schema, q.table_name, q.statement, q.data, q.created_at
  from pg2kafka.outbound_event_queue q
  where q.id > p_replay.last_id and q.id <= p_end_id and q.generation >= 0 and q.statement <> 'SNAPSHOT'
    and not exists (
      select from span s
      where pg2kafka.is_waiting(q.xact, q.id, q.external_id, s.lane, s.lanes, s.delivered, s.target, s.last_id)
    )
) e
where (p_replay.table_name is null or (e.table_schema, e.table_name) = (p_replay.table_schema, p_replay.table_name))
  and (p_replay.from_time is null or e.created_at >= p_replay.from_time)
  and (p_replay.until_time is null or e.created_at < p_replay.until_time)
  and (p_replay.keys is null or e.external_id in (select unnest(p_replay.keys)))
  and not exists (select from pg2kafka.parked_events p where p.id = e.id)
  and not exists (select from pg2kafka.discarded_events p where p.id = e.id)
order by e.id
$$;
