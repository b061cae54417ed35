/* The next step of a snapshot: SNAPSHOT events for some of its rows, as they are in one snapshot of
   Postgres, and a note up to where that was.

   It reads the table's blocks in their order, so any table will do, and it goes on in mid-table.
   Rows that an UPDATE moves behind the scan have an event that carries the whole row; for VACUUM
   FULL, and whatever else writes the table anew, its relation is read from the beginning again.

   p_lane, p_lanes          only rows whose keys are of this share
   p_rows_max, p_bytes_max  bounds on the rows, and on their stored bytes but for the first

   Returns  the rows, and the snapshot of Postgres in which they were read; null where none was
   Errors:  55P03 when somebody is altering the table: try again
            PK003 when another drain has made this step

   Which rows fit is found first, without their JSON. The scan gives them in the order of their
   places: it is one by TIDs, and if ever it were not, it begins at the front. */
create or replace function pg2kafka.snapshot_chunk(
  p_id integer, p_lane integer, p_lanes integer, p_rows_max integer, p_bytes_max bigint,
  out rows bigint, out seen pg_snapshot
)
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '80ms'
set row_security = off
set enable_seqscan = off
set synchronize_seqscans = off
set jit = off
set timezone = 'UTC'
set datestyle = 'ISO'
set intervalstyle = 'postgres'
set extra_float_digits = '1'
set bytea_output = 'hex'
as $$
declare
  -- A first small step tells whether Kafka takes the events.
  c_first_rows_max constant integer := 100;
  -- Before Postgres 14 each line of each block has to be named.
  c_blocks_max constant integer := case when current_setting('server_version_num')::integer < 140000 then 64 else 1024 end;
  -- Of the steps whose events have left the queue: more than one, so that they do not pile up.
  c_forget_max constant integer := 10;
  v_scan pg2kafka.snapshot_scans := pg2kafka.place_scan(p_id, p_lane, p_lanes);
  v_number constant bigint := v_scan.number;
  v_snapshot pg2kafka.table_snapshots;
  v_relation regclass;
  v_to_block bigint;
  v_last tid;
  v_is_cut boolean;
begin
  rows := 0;
  select * into strict v_snapshot from pg2kafka.table_snapshots where id = p_id;
  if not exists (
    select from pg2kafka.external_id_relations r join pg_catalog.pg_class c on c.oid = r.relation
    where r.id = v_snapshot.tracked_id
  ) then
    raise exception 'pg2kafka: the table was dropped' using errcode = 'undefined_object';
  end if;
  loop
    v_relation := v_snapshot.relations[v_scan.nth];
    exit when v_scan.nth > cardinality(v_snapshot.relations)
      or v_scan.block < v_scan.end_block and pg2kafka.is_part_of(v_relation, v_snapshot.relation);
    v_scan.blocks_done := v_scan.blocks_done + v_scan.end_block - v_scan.block;
    v_scan.nth := v_scan.nth + 1;
    v_scan.filenode := v_snapshot.filenodes[v_scan.nth];
    v_scan.end_block := coalesce(v_snapshot.ends[v_scan.nth], 0);
    v_scan.block := 0;
    v_scan.line := 0;
  end loop;

  if v_scan.nth <= cardinality(v_snapshot.relations) then
    execute format('lock table only %s in access share mode', v_relation);
    if pg_relation_filenode(v_relation) <> v_scan.filenode then
      v_scan.blocks_done := v_scan.blocks_done - v_scan.block;
      v_scan.filenode := pg_relation_filenode(v_relation);
      v_scan.end_block := pg_relation_size(v_relation) / current_setting('block_size')::bigint;
      v_scan.block := 0;
      v_scan.line := 0;
    end if;
    v_to_block := least(v_scan.block + c_blocks_max, v_scan.end_block);
    execute pg2kafka.chunk_statement(v_snapshot, v_relation, p_lane, p_lanes)
    into seen, rows, v_last, v_is_cut
    using (pg_identify_object_as_address('pg_class'::regclass, v_snapshot.relation, 0)).object_names,
      format('(%s,%s)', v_scan.block, v_scan.line)::tid, format('(%s,0)', v_to_block)::tid,
      pg2kafka.lines_of(v_scan.block, v_to_block), v_snapshot.keys,
      case when v_number = 0 then least(p_rows_max, c_first_rows_max) else p_rows_max end, p_bytes_max;
    v_scan.rows := v_scan.rows + rows;
    v_scan.blocks_done := v_scan.blocks_done - v_scan.block;
    if v_is_cut then
      v_scan.block := (v_last::text::point)[0];
      v_scan.line := (v_last::text::point)[1] + 1;
    else
      v_scan.block := v_to_block;
      v_scan.line := 0;
    end if;
    v_scan.blocks_done := v_scan.blocks_done + v_scan.block;
  end if;

  v_scan.number := v_number + 1;
  v_scan.xact := pg_current_xact_id();
  insert into pg2kafka.snapshot_scans select v_scan.* on conflict do nothing;
  if not found then
    raise exception 'pg2kafka: another drain has made this step' using errcode = 'PK003';
  end if;
  delete from pg2kafka.snapshot_scans
  where snapshot_id = p_id and lanes = p_lanes and lane = p_lane and number = v_number - 1;
  if rows > 0 then
    insert into pg2kafka.snapshot_steps (xact, lanes, lane) values (v_scan.xact, p_lanes, p_lane);
  end if;
  delete from pg2kafka.snapshot_steps s
  using (select xact from pg2kafka.snapshot_steps order by xact limit c_forget_max for update skip locked) o
  where s.xact = o.xact and not exists (select from pg2kafka.outbound_event_queue q where q.xact = o.xact);
end;
$$;
