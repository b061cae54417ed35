/* Whether a lease is the one of the last entry, and was taken on this server, since it has crashed or started
   last. A server that crashed, or a standby in its place, may have forgotten commits, and gives their
   transaction ids to others: positions that a drain has read before mean nothing there.

   A lease goes by its id. Its number, the fencing token, comes again when the entry that had it is among
   what was forgotten. */
create or replace function pg2kafka.holds_lease(p_lanes jsonb, p_lane integer, p_lease uuid)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select coalesce(
  (p_lanes -> p_lane ->> 'lease')::uuid = p_lease
  and p_lanes -> p_lane ->> 'server' = pg2kafka.server_run(),
  false
)
$$;
