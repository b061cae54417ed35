/* Empty the older half of the drain's log, once the newer one has an entry to begin from. */
create or replace function pg2kafka.reclaim_log()
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_older integer := (select 1 - half from pg2kafka.drain_log order by number desc limit 1);
begin
  perform pg2kafka.check_isolation('reclaim_log()');
  if v_older is null or pg_relation_size(format('pg2kafka.drain_log_%s', v_older)) = 0 then
    return;
  end if;
  execute format('lock table only pg2kafka.drain_log_%s in access exclusive mode nowait', v_older);
  -- Before the lock was had, the log may have come to this half: then the newest entry is in it.
  if v_older = (select 1 - half from pg2kafka.drain_log order by number desc limit 1) then
    execute format('truncate table only pg2kafka.drain_log_%s', v_older);
  end if;
exception when lock_not_available then
  return;
end;
$$;
