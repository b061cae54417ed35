/* Send a tracked table once more, or part of it: a SNAPSHOT event for each row, made by the drain in
   steps, beside the writers. See pg2kafka.snapshots for how far it is.

   p_where  only rows for which this SQL holds when they are read: see check_condition()
   p_keys   only rows with these external ids

   Returns  the snapshot's id, for pause_snapshot(), resume_snapshot() and cancel_snapshot()
   Locks:   as setup(), for a moment
   Errors:  a table that is not tracked, a condition that cannot be used, too many keys */
create or replace function pg2kafka.snapshot(p_table regclass, p_where text default null, p_keys text[] default null)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  c_keys_max constant integer := 10000;
  v_tracked pg2kafka.external_id_relations;
  v_condition text;
begin
  if p_table is null then
    raise exception 'pg2kafka: no table was given'
    using errcode = 'null_value_not_allowed', hint = 'Pass a tracked table: select pg2kafka.snapshot(''products'')';
  end if;
  perform pg2kafka.check_owner(p_table);
  perform pg2kafka.check_isolation('snapshot()');
  if cardinality(p_keys) > c_keys_max then
    raise exception 'pg2kafka: % keys were given; at most % are taken', cardinality(p_keys), c_keys_max
    using errcode = 'program_limit_exceeded', hint = 'Call snapshot() several times, or with a condition.';
  end if;
  if p_where is not null then
    v_condition := pg2kafka.check_condition(p_table, p_where);
  end if;
  perform pg2kafka.lock_table(p_table);
  select * into v_tracked from pg2kafka.external_id_relations where relation = p_table for update;
  if v_tracked.columns is null then
    raise exception 'pg2kafka: table % is not tracked', p_table
    using errcode = 'undefined_object', hint = 'Call pg2kafka.setup() with the table and the column that becomes the key.';
  end if;
  return pg2kafka.begin_snapshot(v_tracked.id, v_condition, p_keys);
end;
$$;
