/* Stop the drain before its next batch. Events go on being captured, and wait. */
create or replace function pg2kafka.pause()
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
update pg2kafka.control set paused_at = now(), paused_by = session_user where paused_at is null
$$;
