/* Empty one partition of the queue, if it has had its turn and all in it is delivered.

   Nobody waits for this: a partition that a transaction still uses is left for another time, and so is
   one whose TOAST table is in use by itself, as a vacuum may.
   The check comes in a later statement than the lock, so it sees all that was committed while
   the partition was in use; it must, see check_isolation().

   p_lane, p_lease  the lane of the drain, and its lease
   p_keeps          only if all in it is kept, too: see keep_step()
   Returns  bytes given back */
create or replace function pg2kafka.reclaim(p_generation integer, p_lane integer, p_lease uuid, p_keeps boolean default false)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '80ms'
as $$
declare
  v_partition regclass;
  v_bytes bigint;
  v_delivered pg_snapshot[];
begin
  perform pg2kafka.check_isolation('reclaim()');
  select partition, pg_total_relation_size(partition) into v_partition, v_bytes
  from pg2kafka.resting_generations() where generation = p_generation;
  if v_partition is null then
    return 0;
  end if;
  execute format('lock table only %s in access exclusive mode nowait', v_partition);
  v_delivered := pg2kafka.delivered_snapshots(p_lane, p_lease);
  if p_keeps and p_generation >= 0 and v_delivered is not null then
    v_delivered := v_delivered || (select delivered from pg2kafka.keep_positions where generation = p_generation);
  end if;
  if v_delivered is null or not pg2kafka.all_delivered(v_partition, v_delivered) then
    return 0;
  end if;
  execute format('truncate table only %s', v_partition);
  update pg2kafka.keep_positions set delivered = default, target = default, last_id = default
  where generation = p_generation and (target is not null or delivered::text <> '1:1:');
  return v_bytes - pg_total_relation_size(v_partition);
exception when lock_not_available then
  return 0;
end;
$$;
