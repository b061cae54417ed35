/* Begin all snapshots under way again, as after a restore: the events of their steps in the queue have
   lost their place among the others. Those of snapshots that are over go, too: they were delivered, or
   given up. To be called while the events have the transaction ids that they were made with. */
create or replace function pg2kafka.restart_snapshots()
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_snapshot pg2kafka.table_snapshots;
begin
  delete from pg2kafka.outbound_event_queue
  where xact = any (array(select xact from pg2kafka.snapshot_steps)) and statement = 'SNAPSHOT';
  delete from pg2kafka.snapshot_steps;
  for v_snapshot in
    select * from pg2kafka.table_snapshots where state in ('running', 'paused') for update
  loop
    delete from pg2kafka.snapshot_scans where snapshot_id = v_snapshot.id;
    begin
      update pg2kafka.table_snapshots t
      set relations = s.relations, filenodes = s.filenodes, ends = s.ends
      from (
        select coalesce(array_agg(relation), '{}') as relations, coalesce(array_agg(filenode), '{}') as filenodes,
          coalesce(array_agg(blocks), '{}') as ends
        from pg2kafka.storage_relations(v_snapshot.relation)
      ) s
      where t.id = v_snapshot.id;
    exception when others then
      if sqlstate in ('55P03', '40P01') then
        raise; -- Somebody is altering the table: the next drain tries again.
      end if;
      perform pg2kafka.end_snapshot(v_snapshot.id, 'failed', pg2kafka.safe_error(sqlstate, sqlerrm));
    end;
  end loop;
end;
$$;
