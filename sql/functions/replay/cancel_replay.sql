/* Give up a replay. Its events that are in the queue, of one step, are still delivered. */
create or replace function pg2kafka.cancel_replay(p_id integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update pg2kafka.event_replays set state = 'cancelled', ended_at = clock_timestamp()
  where id = p_id and state = 'running';
  if not found then
    raise exception 'pg2kafka: no replay % is under way', p_id
    using errcode = 'no_data_found', hint = 'See what there is: select * from pg2kafka.replays';
  end if;
end;
$$;
