/* Append to the drain's log, if nobody else has since entry p_number: the condition refuses who
   fell behind long ago, the unique constraint who is late by a moment.

   p_token     the fencing token; null takes the lease: the new entry's number becomes the token
   p_lease_ms  how long the lease lasts from now; 0 gives it back
   Returns     the new entry's number; null when stale, and then nothing was changed */
create or replace function pg2kafka.append_log(
  p_number bigint, p_token bigint, p_lease_ms integer,
  p_delivered pg_snapshot, p_delivered_id bigint, p_target pg_snapshot, p_target_id bigint, p_last_id bigint
)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
insert into pg2kafka.drain_log
  (number, half, token, leased_until, system_identifier, delivered, delivered_id, target, target_id, last_id)
select p_number + 1, (p_number + 1) / 1024 % 2, coalesce(p_token, p_number + 1),
  clock_timestamp() + p_lease_ms * interval '1 millisecond', s.system_identifier,
  p_delivered, p_delivered_id, p_target, p_target_id, p_last_id
from pg_control_system() s
where p_number = (select coalesce(max(number), 0) from pg2kafka.drain_log)
on conflict do nothing
returning number
$$;
