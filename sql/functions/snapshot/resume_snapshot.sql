/* Let a snapshot go on after pause_snapshot(). */
create or replace function pg2kafka.resume_snapshot(p_id integer)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select pg2kafka.change_snapshot(p_id, '{running,paused}', 'running')
$$;
