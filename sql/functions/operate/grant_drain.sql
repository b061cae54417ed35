/* Give a role what the drain needs, and nothing else: it reads the queue, and writes through
   functions that check its lease. */
create or replace function pg2kafka.grant_drain(p_role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant usage on schema pg2kafka to %s', p_role);
  execute format(
    'grant select on pg2kafka.control, pg2kafka.parked_events, pg2kafka.snapshots to %s', p_role
  );
  execute format(
    'grant execute on function pg2kafka.read_state(integer, integer, bigint), pg2kafka.drawn_id(),
      pg2kafka.is_of_share(text, integer, integer),
      pg2kafka.take_lease(integer, integer, integer),
      pg2kafka.read_events(pg_snapshot, bigint, jsonb, integer, integer, integer, bigint, bigint, bigint),
      pg2kafka.has_work(integer, integer, uuid, pg_snapshot, bigint),
      pg2kafka.settle(integer, uuid, integer, jsonb, jsonb, boolean, jsonb, jsonb, bigint[], integer, bigint),
      pg2kafka.reclaim(integer, integer, uuid, boolean), pg2kafka.reclaim_log(), pg2kafka.refresh_captures(boolean),
      pg2kafka.snapshot_step(integer, integer, integer, bigint),
      pg2kafka.replay_step(integer, bigint), pg2kafka.forget_kept(integer, uuid, bigint, bigint),
      pg2kafka.keep_step(integer, uuid, bigint, bigint, integer, bigint), pg2kafka.status(integer) to %s', p_role
  );
end;
$$;
