/* AFTER a statement on a tracked table, before its events are made, where others are open or were
   nested in it: take it from the open ones, which open_statement() describes, and note for each
   of them on the same table after how many of its rows the statement came.

   The setting is the session's, who may write anything there: what is noted is about this table only.

   Of the parts of one statement (WITH ... AS (DELETE ...) INSERT ...) each sees the table as it was before
   all of them. So what they have in common can only be a key that one gives up, by DELETE or UPDATE,
   before another takes it, by UPDATE or INSERT. A part that is open still and may give up keys is not
   an outer statement: this one is noted as coming after all of its rows. It was opened later, or, unlike
   an outer one, goes on changing rows.

   Returns its mark if interleave_events() must follow, because a statement nested in it began
   after some of its rows; else null. */
create or replace function pg2kafka.close_statement(p_relation oid, p_operation text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  c_operations constant text[] := array['INSERT', 'UPDATE', 'DELETE'];
  -- Where an entry has its mark; before it are three counts, in the order of the operations.
  c_mark constant integer := 6;
  c_all_rows constant bigint := 9223372036854775807;
  v_entries text[] := string_to_array(current_setting('pg2kafka.open_statements', true), '/');
  v_own constant integer := array_position(c_operations, p_operation);
  v_part text[];
  v_nth integer;
  v_operation integer;
  v_mark bigint;
  v_changed bigint;
  -- Rows changed by each operation when the statement began, or one around it with that operation.
  v_began bigint[];
  -- For each entry, of how many of its rows the statement came after.
  v_rows bigint[];
  v_counts text[];
  v_marks bigint[];
  v_marked_rows bigint[];
  -- For each operation: whether an entry that is yet to come has changed rows meanwhile; null before that is known.
  v_goes_on boolean[];
  -- The entries of open parts of the same statement, whose events come first; and their marks.
  v_parts integer[];
  v_part_marks bigint[];
  v_mark_or_now bigint;
  v_has_parts constant boolean := not exists (select from pg2kafka.cascading_keys(p_relation));
begin
  for v_nth in 1..coalesce(cardinality(v_entries), 0) loop
    v_part := string_to_array(v_entries[v_nth], ',');
    continue when v_part[1] is distinct from p_relation::text;
    v_operation := array_position(c_operations, v_part[2]);
    if v_has_parts and v_operation > v_own and coalesce(v_goes_on[v_operation], true) then
      v_parts := v_parts || v_nth;
    end if;
    if v_began is null then
      v_goes_on[v_operation] := false;
      continue when v_operation <> v_own;
      v_began := v_part[3:5];
      v_mark := v_part[c_mark];
      v_changed := pg2kafka.rows_changed(p_relation, p_operation) - v_began[v_own];
      v_entries[v_nth] := null;
      for v_other in v_own + 1..3 loop
        v_goes_on[v_other] := coalesce(
          v_goes_on[v_other], pg2kafka.rows_changed(p_relation, c_operations[v_other]) > v_began[v_other]
        );
      end loop;
      continue;
    end if;
    v_goes_on[v_operation] := false;
    v_rows[v_nth] := case
      -- Nothing is counted. Most often the nested statement comes from an AFTER trigger.
      when not current_setting('track_counts')::boolean then c_all_rows
      else v_began[v_operation] - v_part[2 + v_operation]::bigint
    end;
    v_began[v_operation] := v_part[2 + v_operation];
    -- What this statement changed is not to count as the outer one's.
    v_part[2 + v_own] := v_part[2 + v_own]::bigint + v_changed;
    v_entries[v_nth] := array_to_string(v_part, ',');
  end loop;

  /* From the outermost: a note on it comes before the marks of those inside it, and so before all
     their events. The entries of one statement, as of INSERT ... ON CONFLICT, have the same counts;
     a note on them comes after the marks of both. */
  for v_nth in reverse coalesce(cardinality(v_entries), 0)..0 loop
    continue when v_nth > 0 and (coalesce(v_rows[v_nth], 0) <= 0 or v_nth = any (v_parts));
    v_part := string_to_array(v_entries[v_nth], ',');
    if v_part[3:5] is distinct from v_counts or not current_setting('track_counts')::boolean then
      insert into pg2kafka.nested_statements (relation, mark, after_id, rows_before)
      select p_relation, m.mark, nextval('pg2kafka.outbound_event_queue_id'), m.rows
      from unnest(v_marks, v_marked_rows) as m (mark, rows)
      where not exists (
        select from pg2kafka.nested_statements n
        where n.mark = m.mark and n.relation = p_relation and n.rows_before >= m.rows
      );
      v_marks := null;
      v_marked_rows := null;
      v_counts := v_part[3:5];
    end if;
    if v_nth > 0 then
      v_part[c_mark] := coalesce(v_part[c_mark], nextval('pg2kafka.outbound_event_queue_id')::text);
      v_marks := v_marks || v_part[c_mark]::bigint;
      v_marked_rows := v_marked_rows || v_rows[v_nth];
      v_entries[v_nth] := array_to_string(v_part, ',');
    end if;
  end loop;
  if v_began is not null and v_parts is not null then
    foreach v_nth in array v_parts loop
      v_part := string_to_array(v_entries[v_nth], ',');
      v_part[c_mark] := coalesce(v_part[c_mark], nextval('pg2kafka.outbound_event_queue_id')::text);
      v_part_marks := v_part_marks || v_part[c_mark]::bigint;
      v_entries[v_nth] := array_to_string(v_part, ',');
    end loop;
    -- What was nested in this statement comes after all of their rows, too.
    v_mark_or_now := coalesce(v_mark, nextval('pg2kafka.outbound_event_queue_id'));
    delete from pg2kafka.nested_statements
    where relation = p_relation and mark = any (v_part_marks) and after_id > v_mark_or_now;
    insert into pg2kafka.nested_statements (relation, mark, after_id, rows_before)
    select p_relation, mark, v_mark_or_now, c_all_rows
    from unnest(v_part_marks) as mark;
  end if;
  -- Nulls are left out.
  perform set_config('pg2kafka.open_statements', array_to_string(v_entries, '/'), true);
  return v_mark;
end;
$$;
