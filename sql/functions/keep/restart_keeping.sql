/* Begin keeping again, as after a restore: the events in the queue are given to another transaction,
   and sent again. Those of them that were kept already are taken out of what is kept. */
create or replace function pg2kafka.restart_keeping()
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
update pg2kafka.keep_positions set delivered = '1:1:', target = null, last_id = 0;
update pg2kafka.event_replays set step_xact = null where step_xact is not null;
delete from pg2kafka.delivered_events d using pg2kafka.outbound_event_queue q where d.id = q.id and d.uuid = q.uuid;
$$;
