/* Have the drain send delivered events once more, as far as they are still there: in the queue, or
   kept (KEEP_HOURS). They are counted as the drain comes to them: see pg2kafka.replays. Without
   parameters: all of them.

   p_table          only events of this table, by the name that it has now
   p_from, p_until  only of transactions that began from then on, and before then
   p_keys           only events with these external ids

   SNAPSHOT events are not sent again: pg2kafka.snapshot() makes them anew, of the rows as they are.

   Returns  the replay's number, which its messages bear in a header
   Errors:  a time that ends before it begins, too many keys, too many replays */
create or replace function pg2kafka.replay(
  p_table regclass default null, p_from timestamptz default null, p_until timestamptz default null,
  p_keys text[] default null
)
returns smallint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  c_keys_max constant integer := 10000;
  v_id constant smallint := nextval('pg2kafka.event_replay_id');
  v_first_id bigint;
  v_since timestamptz;
begin
  if p_from >= p_until then
    raise exception 'pg2kafka: the replay would begin at % and end before %', p_from, p_until
    using errcode = 'invalid_parameter_value', hint = 'Pass a p_from that is earlier than p_until.';
  end if;
  if cardinality(p_keys) > c_keys_max then
    raise exception 'pg2kafka: % keys were given; at most % are taken', cardinality(p_keys), c_keys_max
    using errcode = 'program_limit_exceeded', hint = 'Call replay() several times, or without keys.';
  end if;
  select id, created_at into v_first_id, v_since from (
    (select id, created_at from pg2kafka.delivered_events order by id limit 1)
    union all
    (select id, created_at from pg2kafka.outbound_event_queue where generation >= 0 order by id limit 1)
  ) e order by id limit 1;

  delete from pg2kafka.event_replays where id = v_id and state <> 'running';
  insert into pg2kafka.event_replays
    (id, table_schema, table_name, from_time, until_time, keys, first_id, last_id, until_id, started_by)
  select v_id, t.name[1], t.name[2], p_from, p_until, p_keys, f.id, f.id, pg2kafka.drawn_id(), session_user
  from (select coalesce(v_first_id - 1, pg2kafka.drawn_id()) as id) f
  left join lateral (
    select (pg_identify_object_as_address('pg_class'::regclass, p_table, 0)).object_names as name
  ) t on p_table is not null;
  raise notice 'pg2kafka: the drain sends again what it still has, since %. How far it is: select * from pg2kafka.replays where id = %',
    coalesce(v_since::text, '(nothing)'), v_id;
  return v_id;
end;
$$;
