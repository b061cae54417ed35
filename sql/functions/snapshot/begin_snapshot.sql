/* Begin a snapshot that the drain makes in steps. From the end of the caller's transaction on,
   UPDATE events of the table carry the whole row.

   p_condition  as check_condition() returns it; null: all rows
   p_keys       only rows with these external ids; null: all rows

   Returns  the snapshot's id
   Locks:   the caller holds the table's (lock_table()), so that no change which is under way was
            captured otherwise.
   Errors:  row-level security that would hide rows, and relations that may not be read */
create or replace function pg2kafka.begin_snapshot(p_tracked_id integer, p_condition text, p_keys text[])
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set row_security = off
as $$
declare
  v_relation regclass;
  v_id integer;
begin
  insert into pg2kafka.table_snapshots (tracked_id, relation, condition, keys, relations, filenodes, ends, started_by)
  select r.id, r.relation, p_condition, p_keys, s.relations, s.filenodes, s.ends, session_user
  from pg2kafka.external_id_relations r
  cross join lateral (
    select coalesce(array_agg(relation), '{}') as relations, coalesce(array_agg(filenode), '{}') as filenodes,
      coalesce(array_agg(blocks), '{}') as ends
    from pg2kafka.storage_relations(r.relation)
  ) s
  where r.id = p_tracked_id
  returning id into strict v_id;

  foreach v_relation in array (select relations from pg2kafka.table_snapshots where id = v_id) loop
    execute format('select from only %s limit 0', v_relation);
  end loop;
  perform pg2kafka.compile_capture(p_tracked_id);
  return v_id;
end;
$$;
