/* Whether a function of ours, by its name, makes the events of a tracked table: compile_capture() makes one,
   or one for each operation. */
create or replace function pg2kafka.is_capture_of(p_function name, p_id integer)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select p_function ~ ('^enqueue_event_' || p_id || '(_[a-z]+)?$')
$$;
