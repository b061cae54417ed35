/* The state of the drain: the last entry of its log.

   restored  the positions mean nothing here: the database was restored into another cluster, or
             its transaction ids or its event ids went back. take_lease() then begins anew, and
             everything that is in the queue is sent, some of it again. */
create or replace function pg2kafka.last_entry()
returns table (number bigint, lanes jsonb, is_gathering boolean, restored boolean)
language sql
set search_path = pg_catalog, pg_temp
as $$
select coalesce(l.number, 0), coalesce(l.lanes, jsonb_build_array(pg2kafka.first_lane())),
  coalesce(l.is_gathering, false),
  coalesce(l.system_identifier <> s.system_identifier, false) or exists (
    select from pg2kafka.waiting_spans(l.lanes) w
    where pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax(w.delivered)
      or pg2kafka.drawn_id() < w.delivered_id
  )
from pg_control_system() s
left join lateral (select * from pg2kafka.drain_log order by number desc limit 1) l on true
$$;
