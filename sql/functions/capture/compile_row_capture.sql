/* Make pg2kafka.enqueue_event_<id>, the trigger function of a table that is captured row by row.

   p_tracked      with the columns that it is made for, and whole_updates
   p_external_id  the column that becomes the events' key; null where it is gone

   The rows are plpgsql's records, and a session's plan for a record is not made anew when the
   table changes: it would miss a new column, and raise on one of another type. So the rows are read
   beside constants of type regclass, for the table and its inheritance children: with them the plan
   depends on these tables. (A partition changes only with its table.) */
create or replace function pg2kafka.compile_row_capture(p_tracked pg2kafka.external_id_relations, p_external_id text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_depends text;
  v_operations text;
begin
  select string_agg(format('%L::regclass', relation::oid), ', ') into v_depends
  from (
    select p_tracked.relation
    union all
    select relation from pg2kafka.table_members(p_tracked.relation) where not is_partition
  ) t;
  select string_agg(format(
    $body$%s tg_op = %L then
    %s
  $body$,
    case when nth = 1 then 'if' else 'elsif' end, operation,
    pg2kafka.compile_operation(
      p_tracked, operation, p_external_id, 'v_name[1], v_name[2]',
      format('(select old.* from (values (%s)) one)', v_depends),
      format('(select new.* from (values (%s)) one)', v_depends), true, 'v_is_compiled'
    )
  ), '' order by nth)
  into v_operations
  from unnest(array['INSERT', 'UPDATE', 'DELETE']) with ordinality as o (operation, nth);

  perform pg2kafka.create_capture_function('enqueue_event_' || p_tracked.id, pg2kafka.formats_of(null, null, null), format(
    $body$
#variable_conflict use_variable
declare
  v_columns text;
  v_is_compiled boolean := pg2kafka.is_compiled_for(%L::regclass, %L);
  v_relation oid := coalesce(pg_partition_root(tg_relid), tg_relid);
  v_name text[] := case when tg_nargs = 2 then array[tg_argv[0], tg_argv[1]]
    else (pg_identify_object_as_address('pg_class'::regclass, v_relation, 0)).object_names end;
begin
  %selse
    perform pg2kafka.enqueue_truncate(%s, tg_relid, tg_when, tg_argv, v_name);
  end if;
  return null;
end;
$body$,
    p_tracked.relation::oid, p_tracked.columns, v_operations, p_tracked.id
  ));
end;
$$;
