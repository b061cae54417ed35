/* Give up one parked event. What waits behind it is delivered by the next drain. It is noted in
   discarded_events, without the row.

   Errors: an event that is not parked */
create or replace function pg2kafka.discard(p_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  with discarded as (
    delete from pg2kafka.parked_events where id = p_id returning *
  )
  insert into pg2kafka.discarded_events
    (id, uuid, external_id, table_schema, table_name, statement, created_at, code, reason, discarded_by)
  select id, uuid, external_id, table_schema, table_name, statement, created_at, code, reason, session_user
  from discarded;
  if not found then
    raise exception 'pg2kafka: event % is not parked', p_id
    using errcode = 'no_data_found', hint = 'See what is parked: select * from pg2kafka.parked';
  end if;
end;
$$;
