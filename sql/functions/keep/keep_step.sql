/* Keep some of the events that are delivered and no longer written to, before reclaim() empties
   their partition of the queue. Called with bounds, again and again; no lock makes anybody wait.

   A partition is copied in rounds, each up to a snapshot, by id: a round begins when all that is
   visible is delivered, and takes what the rounds before did not see. SNAPSHOT events are passed over.

   p_lane, p_lease          the lane of the drain, and its lease
   p_keep_ms, p_bytes_max   how long events are kept, and a bound on what they take on disk
   p_rows_max, p_step_bytes_max  bounds on this step

   Returns one row:
     is_left     there is more to be kept now
     is_blocked  somebody holds the slice that would have to be emptied: reclaim() is not to wait
     is_early    to make room, events were dropped before their time
     events      kept

   A single event that takes more than a slice, an eighth of p_bytes_max, is not kept. */
create or replace function pg2kafka.keep_step(
  p_lane integer, p_lease uuid, p_keep_ms bigint, p_bytes_max bigint, p_rows_max integer, p_step_bytes_max bigint,
  out is_left boolean, out is_blocked boolean, out is_early boolean, out events bigint
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  c_slices constant integer := 8;
  v_resting record;
  v_seen pg_snapshot;
  v_delivered pg_snapshot[];
  v_position pg2kafka.keep_positions;
  v_end_id bigint;
  v_bytes bigint;
  v_slice smallint;
begin
  perform pg2kafka.check_isolation('keep_step()');
  is_left := false;
  is_blocked := false;
  is_early := false;
  events := 0;
  begin
    lock table pg2kafka.delivered_slices in share row exclusive mode nowait;
  exception when lock_not_available then
    return;
  end;
  for v_resting in select * from pg2kafka.resting_generations() where generation >= 0 loop
    begin
      execute format('lock table only %s in access share mode nowait', v_resting.partition);
    exception when lock_not_available then
      continue;
    end;
    v_seen := pg_current_snapshot();
    v_delivered := pg2kafka.delivered_snapshots(p_lane, p_lease);
    if v_delivered is null then
      return;
    end if;
    select * into strict v_position from pg2kafka.keep_positions where generation = v_resting.generation;
    if v_position.target is null then
      continue when pg2kafka.all_delivered(v_resting.partition, array[v_position.delivered])
        or not pg2kafka.all_delivered(v_resting.partition, v_delivered);
      v_position.target := v_seen;
      v_position.last_id := 0;
    end if;

    -- As stored, with more than pages, indexes and TOAST add.
    execute format(
      $sql$with candidate as (
        select id, case when statement <> 'SNAPSHOT' then
          600 + (coalesce(pg_column_size(data), 0) + coalesce(pg_column_size(external_id), 0)) * 3 / 2
        else 0 end as bytes
        from only %s
        where id > $1 and pg_visible_in_snapshot(xact, $2) and not pg_visible_in_snapshot(xact, $3)
        order by id limit $4
      ), summed as (
        select id, row_number() over w as nth, sum(bytes) over w as bytes from candidate window w as (order by id)
      )
      select max(id), max(bytes) from summed where nth = 1 or bytes <= $5$sql$, v_resting.partition
    ) into v_end_id, v_bytes
    using v_position.last_id, v_position.target, v_position.delivered, p_rows_max, least(p_step_bytes_max, p_bytes_max / c_slices);

    if v_end_id is null then
      update pg2kafka.keep_positions set delivered = v_position.target, target = null, last_id = 0
      where generation = v_resting.generation;
      continue;
    end if;
    if v_bytes <= p_bytes_max / c_slices then
      select s.slice, s.is_early into v_slice, is_early
      from pg2kafka.filling_slice(p_keep_ms, p_bytes_max / c_slices, v_bytes) s;
      is_blocked := v_slice is null;
      if is_blocked then
        return;
      end if;
      execute format(
        $sql$insert into pg2kafka.delivered_events
          (slice, id, uuid, external_id, table_schema, table_name, statement, data, created_at)
        select $1, id, uuid, external_id, table_schema, table_name, statement, data, created_at
        from only %s
        where id > $2 and id <= $3 and statement <> 'SNAPSHOT'
          and pg_visible_in_snapshot(xact, $4) and not pg_visible_in_snapshot(xact, $5)
        order by id$sql$, v_resting.partition
      ) using v_slice, v_position.last_id, v_end_id, v_position.target, v_position.delivered;
      get diagnostics events = row_count;
    end if;
    update pg2kafka.keep_positions set target = v_position.target, last_id = v_end_id
    where generation = v_resting.generation;
    is_left := true;
    return;
  end loop;
end;
$$;
