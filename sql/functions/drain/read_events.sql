/* Read the events of a share that follow a position: visible, not delivered, by id.

   p_target           the snapshot up to which is read; null: the caller's own
   p_last_id          the last id that was read up to p_target
   p_spans            what follows delivered snapshots: [{delivered, delivered_id, target, last_id,
                      lane, lanes}], where the last four stand for the parameters, if they are given
   p_lane, p_lanes    the share
   p_events_max       read at most so many
   p_stored_bytes_max measure only as many as fit by their stored size
   p_bytes_max        of their data as text: what follows the event that reaches it is left out
   p_event_bytes_max  larger data is left out

   Two ranges of ids make up a span. Above `delivered_id` are those of transactions that began
   after `delivered`; read by id, whatever their transaction. Below it are those of the
   transactions that `delivered` shows in progress and that have ended since; read by
   transaction. So what was delivered is not read again, however long a writer stays open.

   Partitions have no statistics: without the settings the planner would read all of a large
   transaction's events for each of its batches, or compile the query each time. A batch is gathered
   in memory, and goes to a file only where work_mem is less. */
create or replace function pg2kafka.read_events(
  p_target pg_snapshot, p_last_id bigint, p_spans jsonb, p_lane integer, p_lanes integer,
  p_events_max integer, p_stored_bytes_max bigint, p_bytes_max bigint, p_event_bytes_max bigint
)
returns table (
  id bigint, uuid uuid, external_id text, table_schema text, table_name text, statement text,
  data text, data_bytes integer, created_at_micros bigint, replay smallint
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
set work_mem = '32MB'
as $$
#variable_conflict use_column
begin
  return query
  with span as materialized (
    select s.delivered, s.delivered_id, coalesce(s.target, p_target, pg_current_snapshot()) as target,
      greatest(s.last_id, p_last_id) as last_id,
      coalesce(s.lane, p_lane) as lane, coalesce(s.lanes, p_lanes) as lanes
    from jsonb_to_recordset(p_spans) as s (
      delivered pg_snapshot, delivered_id bigint, target pg_snapshot, last_id bigint,
      lane integer, lanes integer
    )
  ), candidate as (
    select q.* from span s cross join lateral (
      with late as materialized (
        select q.* from pg_snapshot_xip(s.delivered) as x (xact) cross join lateral (
          select * from pg2kafka.outbound_event_queue q
          where (q.xact, q.id) > (x.xact, s.last_id) and (q.xact, q.id) <= (x.xact, s.delivered_id)
            and pg_visible_in_snapshot(x.xact, s.target)
            and (
              pg2kafka.is_of_share(q.external_id, s.lane, s.lanes)
              or (q.statement = 'TRUNCATE' and p_lanes > 1)
            )
          order by q.xact, q.id limit p_events_max
        ) q
      )
      select * from late
      union all
      (
        select * from pg2kafka.outbound_event_queue q
        where q.id > greatest(s.last_id, s.delivered_id)
          and not pg_visible_in_snapshot(q.xact, s.delivered)
          and pg_visible_in_snapshot(q.xact, s.target)
          and (
            pg2kafka.is_of_share(q.external_id, s.lane, s.lanes)
            or (q.statement = 'TRUNCATE' and p_lanes > 1)
          )
        order by q.id limit greatest(0, p_events_max - (select count(*) from late))
      )
    ) q
  ), batch as (
    select *, sum(pg_column_size(data)) over earlier as stored_before
    from (select * from candidate order by id limit p_events_max) c
    window earlier as (order by id rows between unbounded preceding and 1 preceding)
  ), measured as (
    -- LEAST passes over nulls: a row that was not captured would count as the largest.
    select *, sum(least(coalesce(data_bytes, 0), p_event_bytes_max)) over earlier as bytes_before
    from (
      select *, octet_length(data::text) as data_bytes from batch
      where coalesce(stored_before, 0) < p_stored_bytes_max
    ) b
    window earlier as (order by id rows between unbounded preceding and 1 preceding)
  )
  select id, uuid, external_id, table_schema, table_name, statement,
    case when data_bytes <= p_event_bytes_max then data::text end, data_bytes,
    (extract(epoch from created_at) * 1000000)::bigint, case when generation < 0 then -generation end
  from measured
  where coalesce(bytes_before, 0) < p_bytes_max
  order by id;
end;
$$;
