/* Append to the drain's log, if nobody else has since entry p_number: the condition refuses who
   fell behind long ago, the unique constraint who is late by a moment.

   p_lanes  the whole new state, as in drain_log
   Returns  whether it did; if not, nothing was changed */
create or replace function pg2kafka.append_log(p_number bigint, p_lanes jsonb, p_is_gathering boolean)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
with appended as (
  insert into pg2kafka.drain_log (number, half, system_identifier, lanes, is_gathering)
  select p_number + 1, (p_number + 1) / 1024 % 2, s.system_identifier, p_lanes, p_is_gathering
  from pg_control_system() s
  where p_number = (select coalesce(max(number), 0) from pg2kafka.drain_log)
  on conflict do nothing
  returning 1
)
select exists (select from appended)
$$;
