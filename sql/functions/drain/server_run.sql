/* Names a time in which this server has forgotten no commit: another value after each start of it,
   after each crash, and on a standby that has taken the primary's place. Null after a crash, until
   a lease is taken. */
create or replace function pg2kafka.server_run()
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint || ' ' || id from pg2kafka.server_runs
$$;
