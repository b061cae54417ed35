/* What is parked, without the rows: the events that were refused, each with the number that wait
   behind it. */
create or replace view pg2kafka.parked as
select id, topic, scope, external_id, statement, code, reason, retriable, attempts, parked_at, tried_at,
  (
    select count(*) from pg2kafka.parked_events b
    where b.topic = e.topic and b.code = 'BEHIND_REFUSED' and b.place > e.place
      and (e.scope = 'topic' or b.external_id = e.external_id)
  ) as waiting_behind,
  replay
from pg2kafka.parked_events e
where code <> 'BEHIND_REFUSED';
