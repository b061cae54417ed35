/* AFTER a statement on a tracked table, before its events are made, where others were or are open:
   take it from the open ones, and let the count of the one around it go on.

   Returns its mark if interleave_events() must follow, because a statement nested in it began
   after some of its rows; else null. */
create or replace function pg2kafka.close_statement(p_relation oid, p_operation text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entries text[] := string_to_array(current_setting('pg2kafka.open_statements', true), '/');
  v_prefix text := concat(p_relation, p_operation, '=');
  v_mark bigint;
  v_nth integer;
  v_part text[];
begin
  for v_nth in 1..cardinality(v_entries) loop
    continue when not starts_with(v_entries[v_nth], v_prefix);
    v_part := regexp_match(v_entries[v_nth], '=([0-9]+):(=?)([0-9]+)$');
    if v_mark is null then
      v_mark := v_part[1];
      v_entries[v_nth] := null;
    else
      if v_part[2] = '=' then
        v_entries[v_nth] := format(
          '%s%s:%s', v_prefix, v_part[1], pg2kafka.rows_changed(p_relation, p_operation) - v_part[3]::bigint
        );
      end if;
      exit;
    end if;
  end loop;
  -- Nulls are left out.
  perform set_config('pg2kafka.open_statements', array_to_string(v_entries, '/'), true);
  return case when exists (select from pg2kafka.nested_statements where mark = v_mark) then v_mark end;
end;
$$;
