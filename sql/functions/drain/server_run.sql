/* When this server was started, in microseconds since 1970: another value after each restart, and
   on a standby that has taken the primary's place. */
create or replace function pg2kafka.server_started()
returns bigint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint
$$;
