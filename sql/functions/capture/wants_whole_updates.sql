/* Whether a table's UPDATE events are to carry the whole row, because a snapshot reads it: an UPDATE
   may move a row from before the scan to behind it. */
create or replace function pg2kafka.wants_whole_updates(p_id integer)
returns boolean
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
select exists (select from pg2kafka.table_snapshots where tracked_id = p_id and state in ('running', 'paused'))
$$;
