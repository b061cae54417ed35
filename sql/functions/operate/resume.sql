/* Let the drain go on after pause(). */
create or replace function pg2kafka.resume()
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
update pg2kafka.control set paused_at = null, paused_by = null
$$;
