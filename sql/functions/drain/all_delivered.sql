/* Whether every event in a partition of the queue is visible in each of some snapshots. Two kinds
   are not: those of transactions that came after it, and of those that it shows in progress.

   The highest transaction id is asked for because an index answers that without statistics;
   whether any is higher than a value would be answered by reading the partition. */
create or replace function pg2kafka.all_delivered(p_partition regclass, p_delivered pg_snapshot[])
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_last xid8;
  v_late boolean;
begin
  execute format('select xact from only %s order by xact desc limit 1', p_partition) into v_last;
  execute format(
    $sql$select exists (
      select from unnest($1) as d (delivered)
      cross join pg_snapshot_xip(d.delivered) as x (xact)
      cross join lateral (select from only %s q where q.xact = x.xact order by q.xact, q.id limit 1) l
    )$sql$, p_partition
  ) into v_late using p_delivered;
  return not v_late and (
    v_last is null or (select bool_and(v_last < pg_snapshot_xmax(d)) from unnest(p_delivered) d)
  );
end;
$$;
