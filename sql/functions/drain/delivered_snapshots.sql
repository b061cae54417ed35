/* The snapshots up to which the lanes have delivered, for the drain that holds a lane's lease: what
   each of them shows is delivered. Null for any other, and where the positions mean nothing.

   p_lane, p_lease  the lane of the drain, and its lease */
create or replace function pg2kafka.delivered_snapshots(p_lane integer, p_lease uuid)
returns pg_snapshot[]
language sql
set search_path = pg_catalog, pg_temp
as $$
select array_agg(w.delivered)
from pg2kafka.last_entry() e
cross join pg2kafka.waiting_spans(e.lanes) w
where pg2kafka.holds_lease(e.lanes, p_lane, p_lease) and not e.restored
$$;
