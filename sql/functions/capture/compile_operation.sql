/* The part of a capture function, as compile_capture() describes it, that is about one operation.

   p_tracked      with the columns that the function is made for, and whole_updates
   p_operation    INSERT, UPDATE or DELETE
   p_external_id  to p_new, p_single: see capture_statement()
   p_is_compiled  SQL for whether the columns are those that the function is made for

   Returns plpgsql text. An UPDATE's transition tables have to be paired, row by row; where it
   changed one row, as most do, there is nothing to pair. Postgres' counts of the changed rows tell
   that at once, or else the rows do: not counted, or changed by nested statements too. */
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
  v_columns text[] := pg2kafka.column_names(p_tracked.columns);
  v_types regtype[] := (
    select array_agg(value::regtype order by position)
    from json_each_text(p_tracked.columns::json) with ordinality as c (key, value, position)
  );
  v_names text := format(
    'select row_to_json(c.*)::text into v_columns from (select r.* from (values (1)) one left join %s r on false) c',
    case p_operation when 'DELETE' then p_old else p_new end
  );
  -- All columns of the rows, or those that have values.
  v_all constant boolean := v_columns = pg2kafka.column_names(pg2kafka.table_columns(p_tracked.relation));
  v_old constant text := case when v_all then p_old else pg2kafka.with_columns(v_columns, p_old) end;
  v_new constant text := case when v_all then p_new else pg2kafka.with_columns(v_columns, p_new) end;
  v_keep text := case when p_single then 'false' else 'v_mark is not null' end;
  v_insert text := pg2kafka.capture_statement(
    p_operation, v_columns, v_types, p_external_id, p_names, v_old, v_new, p_single, v_keep, p_tracked.whole_updates
  );
begin
  if p_operation = 'UPDATE' and not p_single then
    v_insert := format(
      $body$v_one_row := v_open = concat(
        tg_relid, ',UPDATE,', pg_stat_get_xact_tuples_inserted(tg_relid), ',',
        pg_stat_get_xact_tuples_updated(tg_relid) - 1, ',', pg_stat_get_xact_tuples_deleted(tg_relid), '/'
      );
      if v_one_row is not true then
        v_one_row := not exists (select from %s offset 1);
      end if;
      if v_one_row then
        %s;
      else
        %s;
      end if$body$,
      p_new,
      pg2kafka.capture_statement(
        p_operation, v_columns, v_types, p_external_id, p_names, v_old, v_new, true, v_keep, p_tracked.whole_updates
      ),
      v_insert
    );
  end if;
  return format(
    $body$%sif %s then
      %s;
    else
      %s;
      execute pg2kafka.capture_current_statement(
        tg_op, pg2kafka.stored_columns(pg2kafka.column_names(v_columns), tg_relid),
        pg2kafka.external_id_column(
          pg2kafka.stored_columns(pg2kafka.column_names(v_columns), tg_relid), %L, %s, %L, %L
        ),
        '$1[1], $1[2]', %L, %L, %L, (%s)::text, %L
      ) using %s;
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
    v_insert,
    v_names,
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
      else 'v_name, old, new' end
  );
end;
$$;
