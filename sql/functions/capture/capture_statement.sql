/* The INSERT that turns the rows changed by one statement, or one changed row, into events.

   p_operation   INSERT, UPDATE, DELETE, or SNAPSHOT, which is made like INSERT
   p_columns     the names of the table's columns, in order
   p_types       their types; null where these are not known
   p_external_id the column that becomes the events' key; null where it is gone
   p_names       SQL for the schema and the name that the events bear: 'schema, table'
   p_old, p_new  SQL for the old and the new rows: a transition table, or a subquery
   p_single      whether p_old and p_new hold one row each
   p_keep        SQL for whether an UPDATE's row that did not change gets an event all the same
   p_whole       an UPDATE's event has all columns, and each of its rows an event
   p_unless      SQL for whether p_old and p_new hold more than one row each all the same: then an
                 UPDATE makes no event

   Returns SQL text. It takes no JSON apart: that refuses \u0000 and lone surrogates, and would
   fail the application's write. */
create or replace function pg2kafka.capture_statement(
  p_operation text, p_columns text[], p_types regtype[], p_external_id text, p_names text, p_old text, p_new text, p_single boolean, p_keep text,
  p_whole boolean default false, p_unless text default null
)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  c_head constant text :=
    'insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data) ';
  v_key text := case when p_external_id is null then 'null::text' else
    format('%s.%I::text', case when p_operation in ('INSERT', 'SNAPSHOT') then 'n' else 'o' end, p_external_id)
  end;
  v_fits text;
  v_with_cast regtype[];
  -- The columns whose values a cast to json may refuse.
  v_refusing text[] := '{}';
  v_changes text;
  v_pair text := 'pair';
begin
  if p_operation = 'DELETE' then
    return format($sql$%s select %s, %s, 'DELETE', '{}' from %s o$sql$, c_head, v_key, p_names, p_old);
  end if;

  v_fits := pg2kafka.json_fits(p_columns, p_types);
  if p_types is not null then
    v_with_cast := pg2kafka.types_with_json_cast(p_types);
    v_refusing := array(select name from unnest(p_columns, p_types) as c (name, type) where type = any (v_with_cast));
  elsif exists (select from pg2kafka.json_cast_sources()) then
    v_refusing := p_columns;
  end if;
  if p_operation in ('INSERT', 'SNAPSHOT') then
    return format(
      $sql$%s select %s, %s, %L, case when %s then %s end from %s n$sql$,
      c_head, v_key, p_names, p_operation, v_fits, pg2kafka.json_row(p_columns, v_refusing), p_new
    );
  end if;

  select string_agg(
    format(
      $sql$case when %s then concat(%L, coalesce(%s, 'null')) end$sql$,
      case
        when p_whole then 'true'
        -- Equal keys of other texts are other keys: 1.0 and 1.00.
        when name = p_external_id and coalesce(type in ('numeric'::regtype, 'jsonb'::regtype), true) then
          format(
            '(%2$s or n.%1$I::text collate "C" is distinct from o.%1$I::text collate "C")',
            name, pg2kafka.comparison(name, type)
          )
        else pg2kafka.comparison(name, type)
      end, to_json(name)::text || ':',
      format(case when name = any (v_refusing) then 'pg2kafka.json_or_text(n.%I)' else 'to_json(n.%I)' end, name)
    ), E',\n        ' order by position
  )
  into v_changes
  from unnest(p_columns, p_types) with ordinality as c (name, type, position);
  while v_pair = any (p_columns) loop
    v_pair := v_pair || '_';
  end loop;
  return format(
    $sql$%s select c.key, %s, 'UPDATE', c.data::json
    from (
      select %s%s as key, case when %s then '{' || array_to_string(array[
        %s
      ]::text[], ',') || '}' end as data
      from %s
      %s
    ) c
    where %s(c.data is distinct from '{}' or %s)%s%s$sql$,
    c_head, p_names, case when not p_single then format('%I as pair, ', v_pair) end, v_key, v_fits, v_changes,
    /* Both transition tables are filled in the same order, the order of the changes. A full join
       is never planned as a nested loop, so a plan made for one row serves a million; a large one
       is hashed in parts, hence the order by. */
    case when p_single then format('%s o, %s n', p_old, p_new) else format(
      $sql$(select row_number() over () as %1$I, r.* from %2$s r) o
        full join (select row_number() over () as %1$I, r.* from %3$s r) n using (%1$I)$sql$,
      v_pair, p_old, p_new
    ) end,
    -- Both keep it a subquery. As a condition of its own p_unless would be a node of the plan.
    case when p_unless is null then 'offset 0' else 'limit 1' end,
    'case when ' || p_unless || ' then false else ',
    p_keep,
    case when p_unless is not null then ' end' end,
    case when not p_single then ' order by c.pair' end
  );
end;
$$;
