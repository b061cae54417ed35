/* Make the function that the triggers of a tracked table call, for the columns it has now.

   INSERTs with the columns' names and types written out are several times as fast as SQL made
   for each call. They are valid only for the columns they were written for, which
   is_compiled_for() watches. Where these have changed, the same INSERT is made anew for each call,
   from the names of the rows' columns as the keys of JSON: slower, and just as right, until
   refresh_captures() compiles again.

   By row, the rows are plpgsql's records, and a session's plan for a record is not made anew
   when the table changes: it would miss a new column, and raise on one of another type. So the
   rows are read beside constants of type regclass, for the table and its inheritance children:
   with them the plan depends on these tables. (A partition changes only with its table.)

   Side effects: create or replace function pg2kafka.enqueue_event_<id>; writes columns,
   external_id_attnum and whole_updates of its row in external_id_relations. */
create or replace function pg2kafka.compile_capture(p_id integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_tracked pg2kafka.external_id_relations;
  v_single boolean;
  v_depends text;
  v_names text;
  v_old text;
  v_new text;
  v_external_id text;
  v_is_compiled text;
  v_operations text := '';
  v_operation text;
  v_body text;
begin
  select * into strict v_tracked from pg2kafka.external_id_relations where id = p_id for update;
  v_single := pg2kafka.captured_by_row(v_tracked.relation);
  v_tracked.columns := pg2kafka.column_types(v_tracked.relation);
  -- Asked for in a later statement than the lock on the row: who begins a snapshot has it too.
  v_tracked.whole_updates := pg2kafka.wants_whole_updates(p_id);
  select attname, attnum into v_external_id, v_tracked.external_id_attnum
  from pg_catalog.pg_attribute
  where attrelid = v_tracked.relation and not attisdropped and attnum > 0 and attgenerated <> 'v'
    and (attname = v_tracked.external_id or attnum = v_tracked.external_id_attnum)
  order by attname = v_tracked.external_id desc
  limit 1;

  v_is_compiled := format('pg2kafka.is_compiled_for(%L::regclass, %L)', v_tracked.relation::oid, v_tracked.columns);
  if v_single then
    v_names := 'v_name[1], v_name[2]';
    select string_agg(format('%L::regclass', relation::oid), ', ') into v_depends
    from (
      select v_tracked.relation
      union all
      select relation from pg2kafka.table_members(v_tracked.relation) where not is_partition
    ) t;
    v_old := format('(select old.* from (values (%s)) one)', v_depends);
    v_new := format('(select new.* from (values (%s)) one)', v_depends);
  else
    v_names := 'tg_table_schema, tg_table_name';
    v_old := 'old_rows';
    v_new := 'new_rows';
  end if;
  foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE'] loop
    v_operations := v_operations || format(
      $body$
  %s tg_op = %L then
    %s$body$,
      case v_operation when 'INSERT' then 'if' else 'elsif' end,
      v_operation,
      pg2kafka.compile_operation(
        v_tracked, v_operation, v_external_id, v_names, v_old, v_new, v_single,
        case when v_single then 'v_is_compiled' else v_is_compiled end
      )
    );
  end loop;

  -- Names come from the application: the body is quoted as a whole, whatever they contain.
  v_body := format(
    $body$
declare
  v_columns text;
  %1$s
begin
  %2$s%3$s
  elsif tg_op = 'TRUNCATE' then
    %4$s
  end if;
  %5$s
  return null;
end;
$body$,
    case when v_single then format(
      $sql$v_is_compiled boolean := %s;
  v_relation oid := coalesce(pg_partition_root(tg_relid), tg_relid);
  v_name text[] := case when tg_nargs = 2 then array[tg_argv[0], tg_argv[1]]
    else (pg_identify_object_as_address('pg_class'::regclass, v_relation, 0)).object_names end;$sql$,
      v_is_compiled
    ) else
      $sql$v_open text := current_setting('pg2kafka.open_statements', true);
  v_closed text;
  v_one_row boolean;
  v_mark bigint;
  v_last bigint;$sql$
    end,
    case when v_single then '' else
      -- Each expression costs: where one statement is open, and none was nested in it, two of them.
      $sql$if split_part(v_open, ',', 6) = '' and tg_op <> 'TRUNCATE' then
    v_closed := set_config('pg2kafka.open_statements', '', true);
  else
    v_mark := pg2kafka.close_statement(tg_relid, tg_op);
    v_last := nextval('pg2kafka.outbound_event_queue_id');
  end if;
  $sql$
    end,
    ltrim(v_operations),
    case when v_single then format(
      'perform pg2kafka.enqueue_truncate(%s, tg_relid, tg_when, tg_argv, v_name);', p_id
    ) else
      $sql$insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)
    values (null, tg_table_schema, tg_table_name, 'TRUNCATE', '{}');$sql$
    end,
    case when v_single then '' else
      $sql$if v_mark is not null then
    perform pg2kafka.interleave_events(tg_relid, v_mark, v_last, tg_table_schema, tg_table_name);
  end if;$sql$
    end
  );
  execute format(
    $function$
create or replace function pg2kafka.%I()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set intervalstyle = 'postgres'
set extra_float_digits = '1'
set bytea_output = 'hex'
as %L
    $function$,
    'enqueue_event_' || p_id, v_body
  );
  execute format('revoke execute on function pg2kafka.%I() from public', 'enqueue_event_' || p_id);

  update pg2kafka.external_id_relations
  set columns = v_tracked.columns, external_id = coalesce(v_external_id, external_id),
    external_id_attnum = v_tracked.external_id_attnum, whole_updates = v_tracked.whole_updates
  where id = p_id;
end;
$$;
