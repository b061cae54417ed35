/* The slice of delivered_events that takes p_bytes more. It is left for the next one, which is emptied
   first, when it would pass p_slice_bytes_max, or has been filled for a sixth of the time: so with
   eight of them, what is kept for less than p_keep_ms is not lost but for want of room.

   The caller holds delivered_slices.

   Returns  null where somebody holds the next one; whether that held events whose time was not up */
create or replace function pg2kafka.filling_slice(
  p_keep_ms bigint, p_slice_bytes_max bigint, p_bytes bigint, out slice smallint, out is_early boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  c_slices constant integer := 8;
  c_turns constant integer := 6;
  v_now constant timestamptz := clock_timestamp();
  v_keep constant interval := p_keep_ms * interval '1 millisecond';
  v_filling pg2kafka.delivered_slices;
  v_bytes bigint;
  v_next smallint;
begin
  is_early := false;
  select * into v_filling from pg2kafka.delivered_slices order by number desc limit 1;
  if found then
    v_bytes := pg_total_relation_size(format('pg2kafka.delivered_events_%s', v_filling.slice));
  end if;
  if v_filling.began_at > v_now - v_keep / c_turns and v_bytes + p_bytes <= p_slice_bytes_max then
    update pg2kafka.delivered_slices s set ended_at = v_now where s.slice = v_filling.slice;
    slice := v_filling.slice;
    return;
  end if;
  v_next := coalesce((v_filling.slice + 1) % c_slices, 0);
  if not pg2kafka.empty_slice(v_next) then
    return;
  end if;
  with former as (
    delete from pg2kafka.delivered_slices s where s.slice = v_next returning ended_at
  )
  select coalesce(max(ended_at) > v_now - v_keep, false) into is_early from former;
  insert into pg2kafka.delivered_slices values (v_next, coalesce(v_filling.number, 0) + 1, v_now, v_now);
  slice := v_next;
end;
$$;
