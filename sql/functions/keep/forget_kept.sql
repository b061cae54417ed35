/* Empty the slices of delivered_events whose time is up, and while what is kept takes more than
   p_bytes_max, the oldest. Nobody waits for this: a slice that is being read is left for another time.

   p_lane, p_lease  the lane of the drain, and its lease: a stale one changes nothing
   p_keep_ms        0: nothing is kept any more, all of them */
create or replace function pg2kafka.forget_kept(p_lane integer, p_lease uuid, p_keep_ms bigint, p_bytes_max bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_slice pg2kafka.delivered_slices;
begin
  if not exists (select from pg2kafka.delivered_slices) then
    return;
  end if;
  lock table pg2kafka.delivered_slices in share row exclusive mode nowait;
  if not (select pg2kafka.holds_lease(e.lanes, p_lane, p_lease) from pg2kafka.last_entry() e) then
    return;
  end if;
  if p_keep_ms = 0 then
    -- What of the queue was kept is not: to keep again is to begin again.
    update pg2kafka.keep_positions set delivered = default, target = default, last_id = default;
  end if;
  for v_slice in select * from pg2kafka.delivered_slices order by number loop
    if (v_slice.ended_at <= clock_timestamp() - p_keep_ms * interval '1 millisecond' or pg2kafka.kept_bytes() > p_bytes_max)
      and pg2kafka.empty_slice(v_slice.slice)
    then
      delete from pg2kafka.delivered_slices where slice = v_slice.slice;
    end if;
  end loop;
exception when lock_not_available then
  return;
end;
$$;
