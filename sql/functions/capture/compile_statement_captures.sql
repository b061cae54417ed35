/* Make the trigger functions of a table whose statements are captured as a whole: one for each
   operation, pg2kafka.enqueue_event_<id>_insert, _update and _delete, and pg2kafka.enqueue_event_<id>
   for TRUNCATE.

   p_tracked      with the columns that they are made for, and whole_updates
   p_external_id  the column that becomes the events' key; null where it is gone

   What costs a statement on one row is each expression that Postgres has to prepare. So a statement
   that is open alone, which is to say nearly every one, passes one condition, which also takes it
   from the open ones (see open_statement()), and makes its events. */
create or replace function pg2kafka.compile_statement_captures(
  p_tracked pg2kafka.external_id_relations, p_external_id text
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  -- More than the four commas of one entry: there is another one, or it has a mark.
  c_not_alone constant text := '%,%,%,%,%,%';
  c_names constant text := 'tg_table_schema, tg_table_name';
  v_is_compiled constant text :=
    format('pg2kafka.is_compiled_for(%L::regclass, %L)', p_tracked.relation::oid, p_tracked.columns);
  v_operation text;
begin
  foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE'] loop
    perform pg2kafka.create_capture_function(
      format('enqueue_event_%s_%s', p_tracked.id, lower(v_operation)),
      pg2kafka.formats_of(p_tracked.columns, p_external_id, v_operation),
      format(
        $body$
#variable_conflict use_variable
declare
  v_mark bigint;
  v_last bigint;
  v_columns text;
  v_formats text[];
begin
  if current_setting('pg2kafka.open_statements', true) not like %L
    and %s and set_config('pg2kafka.open_statements', '', true) is not null
  then
    %s;
    return null;
  end if;
  v_mark := pg2kafka.close_statement(tg_relid, tg_op);
  v_last := nextval('pg2kafka.outbound_event_queue_id');
  %s
  if v_mark is not null then
    perform pg2kafka.interleave_events(tg_relid, v_mark, v_last, tg_table_schema, tg_table_name);
  end if;
  return null;
end;
$body$,
        c_not_alone, v_is_compiled,
        pg2kafka.compile_insert(
          p_tracked, v_operation, p_external_id, c_names, 'old_rows', 'new_rows', false, 'false'
        ),
        pg2kafka.compile_operation(
          p_tracked, v_operation, p_external_id, c_names, 'old_rows', 'new_rows', false, v_is_compiled
        )
      )
    );
  end loop;
  perform pg2kafka.create_capture_function('enqueue_event_' || p_tracked.id, '', $body$
begin
  insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)
  values (null, tg_table_schema, tg_table_name, 'TRUNCATE', '{}');
  return null;
end;
$body$);
end;
$$;
