/* AFTER each statement on a tracked table, before its events are made: forget its mark.

   Returns the range of ids (mark, last] in which statements nested in this one may have made
   events; null, as nearly always, when this session drew no id since the mark. */
create or replace function pg2kafka.close_statement(p_relation oid, p_operation text)
returns bigint[]
language plpgsql
as $$
declare
  v_open text := current_setting('pg2kafka.open_statements', true);
  v_entry text := substring(v_open from '/' || p_relation || p_operation || '=[0-9]+');
  v_mark bigint := split_part(v_entry, '=', 2);
  v_last bigint;
begin
  if v_mark is null then
    return null;
  end if;
  perform set_config(
    'pg2kafka.open_statements',
    overlay(v_open placing '' from position(v_entry in v_open) for length(v_entry)),
    true
  );
  v_last := currval('pg2kafka.outbound_event_queue_id');
  return case when v_last > v_mark then array[v_mark, v_last] end;
end;
$$;
