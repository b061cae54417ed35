/* End the snapshots that are read to the end and delivered. For the lane that calls it, what is
   read is delivered: see snapshot_step(). */
create or replace function pg2kafka.finish_snapshots(p_lane integer, p_lanes integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id integer;
begin
  for v_id in
    select s.id
    from pg2kafka.table_snapshots s
    where s.state in ('running', 'paused') and exists (
      select from pg2kafka.snapshot_scans c
      where c.snapshot_id = s.id and c.lanes = p_lanes and c.lane = p_lane
        and c.nth = cardinality(s.relations) + 1
    )
    for update of s
  loop
    with read as (
      delete from pg2kafka.snapshot_scans
      where snapshot_id = v_id and lanes = p_lanes and lane = p_lane
      returning *
    )
    insert into pg2kafka.snapshot_scans
    select snapshot_id, lanes, lane, number + 1, nth + 1, filenode, end_block, block, line, blocks_done, rows, xact
    from read order by number desc limit 1;
    perform pg2kafka.end_snapshot(s.id, 'finished')
    from pg2kafka.table_snapshots s
    where s.id = v_id and not exists (
      select from pg2kafka.snapshot_scans c where c.snapshot_id = s.id and c.nth <= cardinality(s.relations) + 1
    );
  end loop;
end;
$$;
