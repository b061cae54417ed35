/* The columns of a table as the keys of a JSON object whose values are null. */
create or replace function pg2kafka.table_columns(p_table regclass)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_columns text;
begin
  execute format(
    'select row_to_json(c.*)::text from (select r.* from (values (1)) one left join only %s r on false) c', p_table
  ) into v_columns;
  return v_columns;
end;
$$;
