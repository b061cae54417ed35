/* Enqueue one SNAPSHOT event for each row of a tracked table, in the order of the rows: all at once,
   as setup() does for small tables.

   Locks:  as setup(), so that no change can come between.
   Errors: row-level security that would hide rows is an error, not a smaller snapshot. */
create or replace function pg2kafka.create_snapshot_events(p_table regclass)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = off
set timezone = 'UTC'
set datestyle = 'ISO'
set intervalstyle = 'postgres'
set extra_float_digits = '1'
set bytea_output = 'hex'
as $$
declare
  v_tracked pg2kafka.external_id_relations;
  v_types constant text := pg2kafka.column_types(p_table);
  v_columns constant text[] := pg2kafka.column_names(v_types);
begin
  perform pg2kafka.check_owner(p_table);
  perform pg2kafka.check_isolation('create_snapshot_events()');
  perform pg2kafka.lock_table(p_table);
  select * into v_tracked from pg2kafka.external_id_relations where relation = p_table;
  if not found then
    raise exception 'pg2kafka: table % is not tracked', p_table
    using errcode = 'undefined_object', hint = 'Call pg2kafka.setup() with the table and the column that becomes the key.';
  end if;
  execute pg2kafka.capture_statement(
    'SNAPSHOT', v_columns, pg2kafka.column_regtypes(v_types),
    pg2kafka.external_id_column(v_columns, v_tracked.external_id, p_table, p_table, v_tracked.external_id_attnum),
    '$1[1], $1[2]', null, pg2kafka.with_columns(v_columns, p_table::text), true, 'false'
  ) using (pg_identify_object_as_address('pg_class'::regclass, p_table, 0)).object_names;
end;
$$;
