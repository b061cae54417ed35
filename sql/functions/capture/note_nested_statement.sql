/* A statement begins while others are open: note, for each of them on the same table, after which
   of its rows. Returns the open statements, as open_statement() describes them, with the count of
   the one that has the same operation stopped: what changes now is not its own. */
create or replace function pg2kafka.note_nested_statement(p_open text, p_relation oid, p_operation text)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entries text[] := string_to_array(p_open, '/');
  v_nth integer;
  v_part text[];
  v_rows bigint;
begin
  for v_nth in 1..cardinality(v_entries) loop
    -- Operation, mark, "=" or nothing, rows.
    v_part := regexp_match(v_entries[v_nth], '^' || p_relation || '([A-Z]+)=([0-9]+):(=?)([0-9]+)$');
    continue when v_part is null;
    v_rows := v_part[4];
    if v_part[3] = '' then
      v_rows := pg2kafka.rows_changed(p_relation, v_part[1]) - v_rows;
      if v_part[1] = p_operation then
        v_entries[v_nth] := format('%s%s=%s:=%s', p_relation, v_part[1], v_part[2], v_rows);
      end if;
    end if;
    if not current_setting('track_counts')::boolean then
      -- Nothing is counted. Most often the nested statement comes from an AFTER trigger.
      v_rows := 9223372036854775807;
    end if;
    if v_rows > 0 then
      insert into pg2kafka.nested_statements (relation, mark, after_id, rows_before)
      select p_relation, v_part[2]::bigint, currval('pg2kafka.outbound_event_queue_id'), v_rows
      where not exists (
        select from pg2kafka.nested_statements where mark = v_part[2]::bigint and rows_before >= v_rows
      );
    end if;
  end loop;
  return array_to_string(v_entries, '/');
end;
$$;
