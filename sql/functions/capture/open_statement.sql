/* BEFORE each statement on a tracked table: note where the queue's ids stand, and how many rows
   this transaction has changed in the table.

   A statement's events are made when it ends. A trigger of the application, or a function that
   the statement calls, may change the same rows meanwhile, by a statement of its own, which ends
   first. By these notes interleave_events() finds between which of the outer statement's rows
   that was.

   The setting pg2kafka.open_statements holds the open statements, the innermost first, separated
   by "/": <table's oid><operation>=<mark>:<rows>. The mark is an event id of their own. <rows> is
   what rows_changed() said when the statement began, so the difference to what it says now is how
   many rows the statement itself has changed; "=" and that difference while one of the same
   operation is nested in it. */
create or replace function pg2kafka.open_statement()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_open text := current_setting('pg2kafka.open_statements', true);
begin
  if v_open <> '' then
    v_open := '/' || pg2kafka.note_nested_statement(v_open, tg_relid, tg_op);
  end if;
  -- Assigned, not performed: plpgsql runs a PERFORM as a query, an assignment as an expression.
  v_open := set_config(
    'pg2kafka.open_statements',
    concat(
      tg_relid, tg_op, '=', nextval('pg2kafka.outbound_event_queue_id'), ':',
      pg2kafka.rows_changed(tg_relid, tg_op),
      v_open
    ),
    true
  );
  return null;
end;
$$;
