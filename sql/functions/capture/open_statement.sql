/* BEFORE each statement on a tracked table: note how many rows this transaction has changed in
   the table.

   A statement's events are made when it ends. A trigger of the application, or a function that
   the statement calls, may change the same rows meanwhile, by a statement of its own, which ends
   first. By these notes close_statement() finds after how many of the outer statement's rows
   that was, and interleave_events() puts the events in order.

   The setting pg2kafka.open_statements holds the open statements, the innermost first, each as
   <table's oid>,<operation>,<rows inserted>,<updated>,<deleted>/ with ,<mark> before the slash
   once another is nested in it.

   It runs for every statement, so it is no more than one expression, and with the writer's search
   path: changing that costs more than all the rest. So each name in it must be qualified. */
create or replace function pg2kafka.open_statement()
returns trigger
language plpgsql
security definer
as $$
declare
  -- Assigned, not performed: plpgsql runs a PERFORM as a query, an assignment as an expression.
  v_open pg_catalog.text := pg_catalog.set_config(
    'pg2kafka.open_statements',
    pg_catalog.concat(
      tg_relid, ',', tg_op, ',', pg_catalog.pg_stat_get_xact_tuples_inserted(tg_relid),
      ',', pg_catalog.pg_stat_get_xact_tuples_updated(tg_relid),
      ',', pg_catalog.pg_stat_get_xact_tuples_deleted(tg_relid),
      '/', pg_catalog.current_setting('pg2kafka.open_statements', true)
    ),
    true
  );
begin
  return null;
end;
$$;
