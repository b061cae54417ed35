/* Whether an event belongs to the share of a lane, by its key; those without key are the first's.
   Written to be inlined. */
create or replace function pg2kafka.is_of_share(p_external_id text, p_lane integer, p_lanes integer)
returns boolean
language sql
immutable
as $$
select p_lanes = 1 or coalesce((pg_catalog.hashtext(p_external_id)::bigint + 2147483648) % p_lanes, 0) = p_lane
$$;
