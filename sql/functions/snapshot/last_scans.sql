/* How far each lane is with a snapshot under way. */
create or replace function pg2kafka.last_scans(p_snapshot_id integer)
returns setof pg2kafka.snapshot_scans
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select distinct on (lanes, lane) * from pg2kafka.snapshot_scans
where snapshot_id = p_snapshot_id order by lanes, lane, number desc
$$;
