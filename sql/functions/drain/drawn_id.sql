/* The highest event id drawn so far; 0 when none was.

   A transaction has its id before it draws one of the queue. So when a transaction of the drain
   reads this, then gets an id of its own and commits, every snapshot after it shows whoever had
   drawn this id or a lower one as ended, or lists it as in progress.

   Not asked of the sequence as of a table: while a writer logs its draw, last_value is up to 32 higher
   there, and nothing keeps others from reading it. This function, which is behind the view
   pg_sequences, waits until the writer is done. */
create or replace function pg2kafka.drawn_id()
returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select coalesce(pg_sequence_last_value('pg2kafka.outbound_event_queue_id'::regclass), 0)
$$;
