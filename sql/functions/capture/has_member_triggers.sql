/* Whether a partition or child of a tracked table has the triggers of create_member_triggers(). A
   foreign table takes none for TRUNCATE before Postgres 16, and needs none. */
create or replace function pg2kafka.has_member_triggers(p_id integer, p_member regclass)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select exists (
  select from pg_catalog.pg_trigger t
  join pg_catalog.pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'pg2kafka'::regnamespace
  where t.tgrelid = p_member and f.proname = 'enqueue_event_' || p_id and t.tgname like '%\_before'
) or exists (select from pg_catalog.pg_class where oid = p_member and relkind = 'f')
$$;
