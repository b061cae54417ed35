/* Whether a drain that lingers may have something to do; asked several times a second.

   p_lane, p_lanes, p_lease      its lane, how many there are, and its lease
   p_delivered, p_delivered_id   its position, see first_lane()

   Also true when the drain is to stop for others; when so many ids were drawn since the position that it
   had better be moved, as this function reads all events above it; and when ids have begun anew. Null when
   another drain has the lane, see holds_lease(). */
create or replace function pg2kafka.has_work(
  p_lane integer, p_lanes integer, p_lease uuid, p_delivered pg_snapshot, p_delivered_id bigint
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  c_ids_max constant integer := 10000;
  v_log record;
begin
  select is_gathering, pg2kafka.holds_lease(lanes, p_lane, p_lease) as is_held into v_log
  from pg2kafka.drain_log order by number desc limit 1;
  if v_log.is_held is not true then
    return null;
  end if;
  return v_log.is_gathering or pg2kafka.drawn_id() not between p_delivered_id and p_delivered_id + c_ids_max or exists (
    select from pg2kafka.outbound_event_queue q
    where q.id > p_delivered_id and not pg_visible_in_snapshot(q.xact, p_delivered)
      and (pg2kafka.is_of_share(q.external_id, p_lane, p_lanes) or q.statement = 'TRUNCATE')
  ) or exists (
    select from pg_snapshot_xip(p_delivered) as late (xact)
    cross join lateral (
      select from pg2kafka.outbound_event_queue q
      where (q.xact, q.id) > (late.xact, 0) and (q.xact, q.id) <= (late.xact, p_delivered_id)
        and (pg2kafka.is_of_share(q.external_id, p_lane, p_lanes) or q.statement = 'TRUNCATE')
      limit 1
    ) q
  );
end;
$$;
