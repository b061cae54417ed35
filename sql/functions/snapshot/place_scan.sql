/* Where a lane goes on reading for a snapshot. When the drain's lanes were arranged anew since, all
   of them begin where the last of the former ones was. */
create or replace function pg2kafka.place_scan(p_snapshot_id integer, p_lane integer, p_lanes integer)
returns pg2kafka.snapshot_scans
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_scan pg2kafka.snapshot_scans;
begin
  for v_try in 1..2 loop
    select * into v_scan from pg2kafka.snapshot_scans
    where snapshot_id = p_snapshot_id and lanes = p_lanes and lane = p_lane
    order by number desc limit 1;
    if found then
      return v_scan;
    end if;
    -- Of several lanes that come here at once, the later ones find what the first has done.
    perform from pg2kafka.table_snapshots where id = p_snapshot_id for update;
    continue when v_try = 1;
    with former as (
      select * from pg2kafka.last_scans(p_snapshot_id)
    ), gone as (
      delete from pg2kafka.snapshot_scans where snapshot_id = p_snapshot_id
    ), place as (
      (
        select nth, filenode, end_block, block, line, blocks_done from former
        order by nth, block, line limit 1
      )
      union all
      select 1, filenodes[1], coalesce(ends[1], 0), 0, 0, 0 from pg2kafka.table_snapshots
      where id = p_snapshot_id and not exists (select from former)
    )
    insert into pg2kafka.snapshot_scans
    select p_snapshot_id, p_lanes, l, 0, p.nth, p.filenode, p.end_block, p.block, p.line, p.blocks_done,
      case l when 0 then coalesce((select sum(rows) from former), 0) else 0 end, pg_current_xact_id()
    from place p cross join generate_series(0, p_lanes - 1) l;
  end loop;
  select * into strict v_scan from pg2kafka.snapshot_scans
  where snapshot_id = p_snapshot_id and lanes = p_lanes and lane = p_lane;
  return v_scan;
end;
$$;
