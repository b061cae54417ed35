/* Go on with what is parked, as after a restore: it keeps its place before all that comes to be parked, is
   taken out of the queue where it is there too, and shares no id with another event there. To be called when
   new ids are above all that are stored. */
create or replace function pg2kafka.restart_parking()
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform setval('pg2kafka.parked_events_place_seq', greatest(
    nextval('pg2kafka.parked_events_place_seq'), (select max(place) from pg2kafka.parked_events)
  ));
  delete from pg2kafka.outbound_event_queue q using pg2kafka.parked_events p
  where p.id = q.id and p.uuid = q.uuid;
  update pg2kafka.parked_events p set id = nextval('pg2kafka.outbound_event_queue_id')
  from pg2kafka.outbound_event_queue q where p.id = q.id;
end;
$$;
