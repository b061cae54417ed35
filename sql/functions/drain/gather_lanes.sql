/* One lane in place of several: what they have not delivered becomes its first batches, in one
   order by id. Within a row, and a key, that is right: of what a lane has left the ids are the
   order of the changes, and no key is in two shares. */
create or replace function pg2kafka.gather_lanes(p_lanes jsonb)
returns jsonb
language sql
set search_path = pg_catalog, pg_temp
as $$
select jsonb_build_object('position', jsonb_build_object(
  'spans', jsonb_agg(jsonb_build_object(
    'delivered', w.delivered, 'delivered_id', w.delivered_id::text, 'target', w.target,
    'last_id', w.last_id::text, 'lane', w.lane, 'lanes', w.lanes
  )),
  'target', pg_current_snapshot(), 'target_id', max(w.delivered_id)::text, 'last_id', '0'
))
from pg2kafka.waiting_spans(p_lanes) w
$$;
