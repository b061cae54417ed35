/* Take the lease of a lane, where nobody holds it; and where nobody holds any, arrange the lanes
   as they are wanted.

   From several lanes to any other number the way leads over one: the others are asked to stop
   (is_gathering), and when they have, lane 0 goes on with what all of them have left. When it is
   through, it is spread over the lanes wanted.

   Where the positions mean nothing here (last_entry(): restored), every event is given to
   this transaction, and the position begins before all of them.

   p_lane, p_lanes  the lane of the caller, from 0, and how many there are to be
   Returns  the fencing token, the lease's id, which lane of how many, whether it is to stop, its position and
            transaction; no row when somebody else holds the lease, or lane 0 is to go on alone
            first. To the caller that gathers the lanes, other lanes are given before, one by one,
            where a batch was begun: only under its own lane can Kafka be asked what became of it. */
create or replace function pg2kafka.take_lease(p_lane integer, p_lanes integer, p_lease_ms integer)
returns table (
  token bigint, lease uuid, lane integer, lanes integer, is_gathering boolean, "position" jsonb, transaction jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  -- Who is not first has waited for who was, so each try has brought somebody on.
  c_tries constant integer := 1000;
  v_log record;
  v_lanes jsonb;
  v_is_free boolean;
  v_lane integer;
  v_id constant uuid := gen_random_uuid();
  v_lease jsonb;
begin
  if (select paused_at is not null from pg2kafka.control) then
    return;
  end if;
  for v_try in 1..c_tries loop
    select * into v_log from pg2kafka.last_entry();
    v_lanes := v_log.lanes;
    v_lane := p_lane;
    select coalesce(bool_and((l ->> 'leased_until')::timestamptz <= clock_timestamp()), true) into v_is_free
    from jsonb_array_elements(v_lanes) l;

    if v_log.restored then
      if p_lane <> 0 or not v_is_free then
        return;
      end if;
      v_lanes := jsonb_build_array(pg2kafka.first_lane());
      v_log.is_gathering := false;
    elsif jsonb_array_length(v_lanes) = 1 then
      if p_lanes > 1 and v_is_free and pg2kafka.may_spread(v_lanes) then
        select jsonb_agg(jsonb_build_object('position', v_lanes #> '{0,position}')) into v_lanes
        from generate_series(1, p_lanes);
      end if;
    elsif v_log.is_gathering or jsonb_array_length(v_lanes) <> p_lanes then
      if p_lane <> 0 or not v_is_free then
        if v_log.is_gathering or pg2kafka.append_log(v_log.number, v_lanes, true) then
          return;
        end if;
        continue;
      end if;
      select nth - 1 into v_lane from jsonb_array_elements(v_lanes) with ordinality as l (state, nth)
      where state #> '{transaction,begun}' <> 'null'
      limit 1;
      v_log.is_gathering := v_lane is not null;
      if v_lane is null then
        v_lane := 0;
        v_lanes := jsonb_build_array(pg2kafka.gather_lanes(v_lanes));
      end if;
    end if;

    if v_lane >= jsonb_array_length(v_lanes)
      or (v_lanes -> v_lane ->> 'leased_until')::timestamptz > clock_timestamp()
    then
      return;
    end if;
    insert into pg2kafka.server_runs default values on conflict do nothing;
    v_lease := jsonb_build_object(
      'token', v_log.number + 1, 'lease', v_id, 'server', pg2kafka.server_run(),
      'leased_until', clock_timestamp() + p_lease_ms * interval '1 millisecond'
    );
    v_lanes := jsonb_set(v_lanes, array[v_lane::text], v_lanes -> v_lane || v_lease);
    if pg2kafka.append_log(v_log.number, v_lanes, v_log.is_gathering) then
      if v_log.restored then
        perform pg2kafka.restart_ids();
        perform pg2kafka.restart_snapshots();
        perform pg2kafka.restart_parking();
        update pg2kafka.outbound_event_queue set xact = pg_current_xact_id();
        perform pg2kafka.restart_keeping();
      elsif jsonb_array_length(v_lanes) < jsonb_array_length(v_log.lanes) then
        perform pg2kafka.rewind_snapshots(v_log.lanes);
      end if;
      return query select v_log.number + 1, v_id, v_lane, jsonb_array_length(v_lanes), v_log.is_gathering,
        v_lanes -> v_lane -> 'position', v_lanes -> v_lane -> 'transaction';
      return;
    end if;
  end loop;
end;
$$;
