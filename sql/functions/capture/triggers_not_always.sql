/* Of a tracked table's triggers those on one relation, the table itself or a part of it, that fire, but not
   ALWAYS: somebody has disabled them, and enabled them again. */
create or replace function pg2kafka.triggers_not_always(p_id integer, p_relation regclass)
returns setof name
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select t.tgname
from pg_catalog.pg_trigger t
join pg_catalog.pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'pg2kafka'::regnamespace
where t.tgrelid = p_relation and t.tgenabled = 'O'
  and (f.proname = 'open_statement' or pg2kafka.is_capture_of(f.proname, p_id))
$$;
