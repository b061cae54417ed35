/* The part of a capture function, as compile_capture() describes it, that is about one operation:
   compile_insert(), and what serves where the columns have changed.

   p_tracked      with the columns that the function is made for, and whole_updates
   p_operation    INSERT, UPDATE or DELETE
   p_external_id  to p_single: see capture_statement()
   p_is_compiled  SQL for whether the columns are those that the function is made for

   Returns plpgsql text. */
create or replace function pg2kafka.compile_operation(
  p_tracked pg2kafka.external_id_relations, p_operation text, p_external_id text, p_names text,
  p_old text, p_new text, p_single boolean, p_is_compiled text
)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_names text := format(
    'select row_to_json(c.*)::text into v_columns from (select r.* from (values (1)) one left join %s r on false) c',
    case p_operation when 'DELETE' then p_old else p_new end
  );
  v_keep text := case when p_single then 'false' else 'v_mark is not null' end;
begin
  return format(
    $body$%sif %s then
      %s;
    else
      %s;
      %sexecute pg2kafka.capture_current_statement(
        tg_op, pg2kafka.stored_columns(pg2kafka.column_names(v_columns), tg_relid),
        pg2kafka.external_id_column(
          pg2kafka.stored_columns(pg2kafka.column_names(v_columns), tg_relid), %L, %s, %L, %L
        ),
        '$1[1], $1[2]', %L, %L, %L, (%s)::text, %L
      ) using %s;%s
    end if;$body$,
    case when p_single then format(
      -- A child of an inheritance tree may have columns of its own.
      $body$if v_relation <> %s then
      %s;
      v_is_compiled := v_is_compiled and v_columns = %L;
    end if;
    $body$, p_tracked.relation::oid, v_names, pg2kafka.table_columns(p_tracked.relation)
    ) end,
    p_is_compiled,
    pg2kafka.compile_insert(p_tracked, p_operation, p_external_id, p_names, p_old, p_new, p_single, v_keep),
    v_names,
    -- Of the formats, a statement's function sets those that its columns need.
    case when not p_single then 'v_formats := pg2kafka.set_formats(null);
      ' end,
    p_tracked.external_id, case when p_single then 'v_relation' else 'tg_relid' end,
    p_tracked.relation::oid, p_tracked.external_id_attnum,
    case when p_single then '(select ($2).*)' else p_old end,
    case when p_single then '(select ($3).*)' else p_new end,
    p_single,
    v_keep,
    p_tracked.whole_updates,
    case when not p_single then 'array[tg_table_schema, tg_table_name]'
      when p_operation = 'INSERT' then 'v_name, new, new'
      when p_operation = 'DELETE' then 'v_name, old, old'
      else 'v_name, old, new' end,
    case when not p_single then '
      v_formats := pg2kafka.set_formats(v_formats);' end
  );
end;
$$;
