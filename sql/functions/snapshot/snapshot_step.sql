/* Make the next step of a snapshot for a lane of the drain. Called between two spans of the lane's
   events, when everything up to its position is delivered.

   p_lane, p_lanes          the lane, and how many there are
   p_rows_max, p_bytes_max  bounds on what the step reads

   Returns one row:
     is_left      the lane has snapshots to go on with
     rows         SNAPSHOT events made, in this transaction
     target       where rows were made: the snapshot in which they were read, and these events.
   The caller must make that the target of its position in the same transaction: so each row's event
   comes after all that was visible when it was read, and before all else. See docs/design.md.

   Of several snapshots, the one with the fewest steps comes first. One that fails is given up, with
   the reason in pg2kafka.snapshots, and without any row's values. One whose topic is missing waits.

   Errors: PK003 when another drain has made this step */
create or replace function pg2kafka.snapshot_step(
  p_lane integer, p_lanes integer, p_rows_max integer, p_bytes_max bigint,
  out is_left boolean, out rows bigint, out target pg_snapshot
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id integer;
  v_seen pg_snapshot;
  v_code text;
  v_message text;
begin
  perform pg2kafka.check_isolation('snapshot_step()');
  perform pg_current_xact_id();
  perform pg2kafka.finish_snapshots(p_lane, p_lanes);
  is_left := false;
  rows := 0;
  for v_id in
    select s.id
    from pg2kafka.table_snapshots s
    left join lateral (
      select c.number, c.nth from pg2kafka.snapshot_scans c
      where c.snapshot_id = s.id and c.lanes = p_lanes and c.lane = p_lane
      order by c.number desc limit 1
    ) c on true
    where s.state = 'running' and (c.nth is null or c.nth <= cardinality(s.relations))
      and not exists (
        select from pg2kafka.parked_events e
        join pg2kafka.external_id_relations r on (r.table_schema, r.table_name) = (e.table_schema, e.table_name)
        where r.id = s.tracked_id and e.scope = 'topic'
      )
    order by coalesce(c.number, 0), s.id
  loop
    begin
      select c.rows, c.seen into rows, v_seen
      from pg2kafka.snapshot_chunk(v_id, p_lane, p_lanes, p_rows_max, p_bytes_max) c;
      if rows > 0 then
        target := pg2kafka.snapshot_with(v_seen, pg_current_xact_id());
      end if;
      is_left := true;
      return;
    exception
      when sqlstate 'PK003' then
        raise;
      -- The table is being altered, its partition was dropped just now, or too much is in progress.
      when lock_not_available or undefined_table or deadlock_detected or sqlstate 'PK002' then
        null;
      when query_canceled or others then
        get stacked diagnostics v_code = returned_sqlstate, v_message = message_text;
        perform pg2kafka.end_snapshot(v_id, 'failed', pg2kafka.safe_error(v_code, v_message));
    end;
    rows := 0;
  end loop;
end;
$$;
