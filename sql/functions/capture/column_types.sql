/* The columns of a table as a JSON object of their names and the oids of their types, in order, without
   those that stored_columns() leaves out. By its oid a type is known from another of the same name.

   It asks for a row that is not there, whose analysis tells: that sees the table as it is now,
   while the caller's snapshot may show the catalogs as they were before an ALTER TABLE. */
create or replace function pg2kafka.column_types(p_table regclass)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_names text[] := pg2kafka.stored_columns(pg2kafka.column_names(pg2kafka.table_columns(p_table)), p_table);
  v_types text;
begin
  execute format(
    'select json_object($1, array[%s]::text[])::text from (values (1)) one left join only %s r on false',
    (
      select string_agg(format('pg_typeof(r.%I)::oid', name), ', ' order by position)
      from unnest(v_names) with ordinality as c (name, position)
    ),
    p_table
  ) into v_types using v_names;
  return coalesce(v_types, '{}');
end;
$$;
