/* The replays that the drain makes or has made, and how far they are. Without the keys: they are
   values of rows.

   events   sent again, or about to be
   percent  of the event ids that it has to look at */
create or replace view pg2kafka.replays as
select id, table_schema, table_name, from_time, until_time, cardinality(keys) as keys, state, events,
  case when until_id > first_id then 100 * (last_id - first_id) / (until_id - first_id) else 100 end as percent,
  exists (select from pg2kafka.parked_events p where p.replay = r.id) and state = 'running' as waits_for_parked,
  started_by, started_at, ended_at
from pg2kafka.event_replays r;
