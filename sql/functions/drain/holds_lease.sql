/* Whether a fencing token is the one of the last entry, and the lease was taken on this server, since
   it has crashed or started last. A server that crashed, or a standby in its place, may have forgotten
   commits, and gives their transaction ids to others: positions that a drain has read before mean
   nothing there. */
create or replace function pg2kafka.holds_lease(p_lanes jsonb, p_lane integer, p_token bigint)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select coalesce(
  (p_lanes -> p_lane ->> 'token')::bigint = p_token
  and p_lanes -> p_lane ->> 'server' = pg2kafka.server_run(),
  false
)
$$;
