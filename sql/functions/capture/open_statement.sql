/* BEFORE each statement on a tracked table: note where the queue's ids stand.

   A statement's events are made when it ends. A trigger of the application may change the same
   rows before that, by a statement of its own, whose events are then older than those of the
   change that came first. close_statement() finds them by this mark. */
create or replace function pg2kafka.open_statement()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config(
    'pg2kafka.open_statements',
    concat(
      '/', tg_relid, tg_op, '=', nextval('pg2kafka.outbound_event_queue_id'),
      current_setting('pg2kafka.open_statements', true)
    ),
    true
  );
  return null;
end;
$$;
