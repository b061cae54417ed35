/* Stop a snapshot before its next step. Until it is resumed or cancelled, UPDATE events of the table
   go on carrying the whole row. */
create or replace function pg2kafka.pause_snapshot(p_id integer)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select pg2kafka.change_snapshot(p_id, '{running,paused}', 'paused')
$$;
