/* Where a lane goes on reading for a snapshot. When the drain's lanes were arranged anew since, all
   of them begin where the last of the former ones was, and know where its last step began: of that
   one's events each may have some to deliver. */
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
      delete from pg2kafka.snapshot_scans where snapshot_id = p_snapshot_id returning *
    ), reached as (
      select distinct on (lanes, lane) * from former order by lanes, lane, number desc
    ), behind as (
      select * from reached order by nth, block, line limit 1
    ), place as (
      select f.number, f.nth, f.filenode, f.end_block, f.block, f.line, f.blocks_done,
        f.rows + (select sum(rows) from reached) - b.rows as rows, f.xact
      from former f join behind b on (f.lanes, f.lane) = (b.lanes, b.lane)
      union all
      select 0, 1, filenodes[1], coalesce(ends[1], 0), 0, 0, 0, 0, '0'::xid8
      from pg2kafka.table_snapshots
      where id = p_snapshot_id and not exists (select from former)
    )
    insert into pg2kafka.snapshot_scans
    select p_snapshot_id, p_lanes, l, p.number, p.nth, p.filenode, p.end_block, p.block, p.line, p.blocks_done,
      case l when 0 then p.rows else 0 end, p.xact
    from place p cross join generate_series(0, p_lanes - 1) l;
  end loop;
  select * into strict v_scan from pg2kafka.snapshot_scans
  where snapshot_id = p_snapshot_id and lanes = p_lanes and lane = p_lane
  order by number desc limit 1;
  return v_scan;
end;
$$;
