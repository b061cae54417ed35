/* Make the functions that the triggers of a tracked table call, for the columns it has now:
   compile_row_capture() or compile_statement_captures().

   INSERTs with the columns' names and types written out are several times as fast as SQL made
   for each call. They are valid only for the columns they were written for, which
   is_compiled_for() watches. Where these have changed, the same INSERT is made anew for each call,
   from the names of the rows' columns as the keys of JSON: slower, and just as right, until
   refresh_captures() compiles again.

   Side effects: create or replace function pg2kafka.enqueue_event_<id> and others whose names begin
   so; writes columns, types_with_cast, external_id_attnum and whole_updates of its row in external_id_relations. */
create or replace function pg2kafka.compile_capture(p_id integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_tracked pg2kafka.external_id_relations;
  v_external_id text;
begin
  select * into strict v_tracked from pg2kafka.external_id_relations where id = p_id for update;
  v_tracked.columns := pg2kafka.column_types(v_tracked.relation);
  -- Asked for in a later statement than the lock on the row: who begins a snapshot has it too.
  v_tracked.whole_updates := pg2kafka.wants_whole_updates(p_id);
  select attname, attnum into v_external_id, v_tracked.external_id_attnum
  from pg_catalog.pg_attribute
  where attrelid = v_tracked.relation and not attisdropped and attnum > 0 and attgenerated <> 'v'
    and (attname = v_tracked.external_id or attnum = v_tracked.external_id_attnum)
  order by attname = v_tracked.external_id desc
  limit 1;

  if pg2kafka.captured_by_row(v_tracked.relation) then
    perform pg2kafka.compile_row_capture(v_tracked, v_external_id);
  else
    perform pg2kafka.compile_statement_captures(v_tracked, v_external_id);
  end if;

  update pg2kafka.external_id_relations
  set columns = v_tracked.columns,
    types_with_cast = pg2kafka.types_with_json_cast(pg2kafka.column_regtypes(v_tracked.columns))::text,
    external_id = coalesce(v_external_id, external_id),
    external_id_attnum = v_tracked.external_id_attnum, whole_updates = v_tracked.whole_updates
  where id = p_id;
end;
$$;
