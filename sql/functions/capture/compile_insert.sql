/* The part of a capture function that makes the events of one operation, for the columns that it is
   made for.

   p_tracked      with these columns, and whole_updates
   p_operation    INSERT, UPDATE or DELETE
   p_external_id  to p_keep: see capture_statement()

   Returns plpgsql text. An UPDATE's transition tables have to be paired, row by row; where it
   changed one row, as most do, there is nothing to pair. So that is tried first: where there is a
   second row, it makes no event. */
create or replace function pg2kafka.compile_insert(
  p_tracked pg2kafka.external_id_relations, p_operation text, p_external_id text, p_names text,
  p_old text, p_new text, p_single boolean, p_keep text
)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_columns text[] := pg2kafka.column_names(p_tracked.columns);
  v_types regtype[] := pg2kafka.column_regtypes(p_tracked.columns);
  -- All columns of the rows, or those that have values.
  v_all constant boolean := v_columns = pg2kafka.column_names(pg2kafka.table_columns(p_tracked.relation));
  v_old constant text := case when v_all then p_old else pg2kafka.with_columns(v_columns, p_old) end;
  v_new constant text := case when v_all then p_new else pg2kafka.with_columns(v_columns, p_new) end;
  v_insert text := pg2kafka.capture_statement(
    p_operation, v_columns, v_types, p_external_id, p_names, v_old, v_new, p_single, p_keep, p_tracked.whole_updates
  );
begin
  if p_operation <> 'UPDATE' or p_single then
    return v_insert;
  end if;
  return format(
    $body$%s;
    if not found and exists (select from %s offset 1) then
      %s;
    end if$body$,
    pg2kafka.capture_statement(
      p_operation, v_columns, v_types, p_external_id, p_names, v_old, v_new, true, p_keep, p_tracked.whole_updates,
      format('exists (select from %s offset 1)', p_new)
    ),
    p_new,
    v_insert
  );
end;
$$;
