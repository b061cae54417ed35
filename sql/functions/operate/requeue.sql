/* Have parked events tried again by the next drain, whatever the reason they were parked for.

   p_id     one event; all of them by default
   Returns  how many will be tried */
create or replace function pg2kafka.requeue(p_id bigint default null)
returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
with requeued as (
  update pg2kafka.parked_events set retriable = true
  where p_id is null or id = p_id
  returning id
)
select count(*) from requeued
$$;
