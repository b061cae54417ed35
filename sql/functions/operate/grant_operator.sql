/* Let a role track and send its own tables, have events sent again, pause the drain, and deal with what is parked. */
create or replace function pg2kafka.grant_operator(p_role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant usage on schema pg2kafka to %s', p_role);
  execute format('grant select on pg2kafka.parked, pg2kafka.snapshots, pg2kafka.replays, pg2kafka.external_id_relations, pg2kafka.control to %s', p_role);
  execute format(
    'grant execute on function pg2kafka.setup(regclass, text), pg2kafka.teardown(regclass), pg2kafka.pause(),
      pg2kafka.snapshot(regclass, text, text[]), pg2kafka.pause_snapshot(integer), pg2kafka.resume_snapshot(integer),
      pg2kafka.cancel_snapshot(integer),
      pg2kafka.replay(regclass, timestamptz, timestamptz, text[]), pg2kafka.cancel_replay(integer),
      pg2kafka.resume(), pg2kafka.requeue(bigint), pg2kafka.discard(bigint), pg2kafka.status(integer) to %s', p_role
  );
end;
$$;
