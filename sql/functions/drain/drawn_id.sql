/* The highest event id drawn so far; 0 when none was.

   A transaction has its id before it draws one of the queue. So when a transaction of the drain
   reads this, then gets an id of its own and commits, every snapshot after it shows whoever had
   drawn this id or a lower one as ended, or lists it as in progress. */
create or replace function pg2kafka.drawn_id()
returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
select case when is_called then last_value else 0 end from pg2kafka.outbound_event_queue_id
$$;
