/* The trigger function of the Go service's triggers, until the migration has replaced them.
   Each call makes its INSERT anew: slow, and right for any table. */
create or replace function pg2kafka.enqueue_event()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set intervalstyle = 'postgres'
set extra_float_digits = '1'
set bytea_output = 'hex'
as $$
declare
  v_columns text[] := pg2kafka.stored_columns(pg2kafka.column_names(pg2kafka.table_columns(tg_relid)), tg_relid);
  v_external_id text := (
    select pg2kafka.external_id_column(v_columns, external_id, null, null, null)
    from pg2kafka.external_id_relations where relation = tg_relid
  );
begin
  if tg_op = 'INSERT' then
    execute pg2kafka.capture_current_statement(tg_op, v_columns, v_external_id, '$1, $2', null, '(select ($3).*)', true)
    using tg_table_schema, tg_table_name, new;
  elsif tg_op = 'DELETE' then
    execute pg2kafka.capture_current_statement(tg_op, v_columns, v_external_id, '$1, $2', '(select ($3).*)', null, true)
    using tg_table_schema, tg_table_name, old;
  else
    execute pg2kafka.capture_current_statement(tg_op, v_columns, v_external_id, '$1, $2', '(select ($3).*)', '(select ($4).*)', true)
    using tg_table_schema, tg_table_name, old, new;
  end if;
  return null;
end;
$$;
