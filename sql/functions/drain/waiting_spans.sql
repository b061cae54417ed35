/* What the lanes have not delivered, as spans (see first_lane()) that end where target says, or
   with the newest event where it is null. */
create or replace function pg2kafka.waiting_spans(p_lanes jsonb)
returns table (lane integer, lanes integer, delivered pg_snapshot, delivered_id bigint, target pg_snapshot, last_id bigint)
language sql
set search_path = pg_catalog, pg_temp
as $$
with position as (
  select nth::integer - 1 as lane, jsonb_array_length(p_lanes) as lanes, p.*
  from jsonb_array_elements(p_lanes) with ordinality as l (state, nth)
  cross join jsonb_to_record(l.state -> 'position')
    as p (spans jsonb, target pg_snapshot, target_id bigint, last_id bigint)
)
select coalesce(s.lane, p.lane), coalesce(s.lanes, p.lanes), s.delivered, s.delivered_id,
  coalesce(s.target, p.target), greatest(s.last_id, p.last_id)
from position p
cross join jsonb_to_recordset(p.spans)
  as s (delivered pg_snapshot, delivered_id bigint, target pg_snapshot, last_id bigint, lane integer, lanes integer)
union all
select p.lane, p.lanes, p.target, p.target_id, null, 0 from position p where p.target is not null
$$;
