/* The part of a capture function, as compile_capture() describes it, that is about one operation.

   p_tracked      with the columns that the function is made for
   p_operation    INSERT, UPDATE or DELETE
   p_external_id  to p_new, p_single: see capture_statement()

   Returns plpgsql text. Of a statement's transition tables, an UPDATE needs to know which row
   was which: where it changed one row, as nearly always, nothing has to be paired. */
create or replace function pg2kafka.compile_operation(
  p_tracked pg2kafka.external_id_relations, p_operation text, p_external_id text, p_unbounded text[],
  p_numbers text[], p_names text, p_old text, p_new text, p_single boolean
)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_keep text := case when p_single then 'false' else 'v_mark is not null' end;
  v_is_paired boolean := p_operation = 'UPDATE' and not p_single;
  v_insert text := pg2kafka.capture_statement(
    p_operation, pg2kafka.column_names(p_tracked.columns), p_unbounded, p_numbers,
    p_external_id, p_names, p_old, p_new, p_single, v_keep
  );
begin
  if v_is_paired then
    v_insert := format(
      'if v_many then %s; else %s; end if', v_insert,
      pg2kafka.capture_statement(
        p_operation, pg2kafka.column_names(p_tracked.columns), p_unbounded, p_numbers,
        p_external_id, p_names, p_old, p_new, true, v_keep
      )
    );
  end if;
  return format(
    $body$select row_to_json(c.*)::text%s
    from (select r.* from (values (1)) one left join %s r on false) c;
    if v_columns = %L then
    %s;
    else
      execute pg2kafka.capture_current_statement(
        tg_op, pg2kafka.column_names(v_columns),
        pg2kafka.external_id_column(pg2kafka.column_names(v_columns), %L, v_relation, %L, %L),
        '$1[1], $1[2]', %L, %L, %L, (%s)::text
      ) using %s;
    end if;$body$,
    case when v_is_paired then format(', exists (select from %s offset 1) into v_columns, v_many', p_new)
      else ' into v_columns' end,
    case p_operation when 'DELETE' then p_old else p_new end,
    p_tracked.columns,
    v_insert,
    p_tracked.external_id, p_tracked.relation::oid, p_tracked.external_id_attnum,
    case when p_single then '(select ($2).*)' else p_old end,
    case when p_single then '(select ($3).*)' else p_new end,
    p_single,
    v_keep,
    case when not p_single then 'array[tg_table_schema, tg_table_name]'
      when p_operation = 'INSERT' then 'v_name, new, new'
      when p_operation = 'DELETE' then 'v_name, old, old'
      else 'v_name, old, new' end
  );
end;
$$;
