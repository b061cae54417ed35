/* Give up a snapshot. Its events that are in the queue are still delivered, but where the
   drain's lanes are arranged anew before that. */
create or replace function pg2kafka.cancel_snapshot(p_id integer)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select pg2kafka.change_snapshot(p_id, '{running,paused,cancelled}', 'cancelled')
$$;
