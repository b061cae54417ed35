/* End a snapshot that is under way. The next drain lets UPDATE events carry only what changed
   again (refresh_captures()). */
create or replace function pg2kafka.end_snapshot(p_id integer, p_state text, p_error text default null)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
update pg2kafka.table_snapshots
set state = p_state, error = p_error, ended_at = clock_timestamp(),
  rows = (select coalesce(sum(c.rows), 0) from pg2kafka.last_scans(p_id) c)
where id = p_id and state in ('running', 'paused');
delete from pg2kafka.snapshot_scans where snapshot_id = p_id;
$$;
