/* The partitions of the queue that hold something and have had their turn, which lasts two minutes,
   and one more for the transactions that began in it, and whose next turn does not come within ten
   seconds, for whoever empties one may be slow; and the one of events sent again (-1), which has no turns. */
create or replace function pg2kafka.resting_generations()
returns table (generation integer, partition regclass)
language sql
set search_path = pg_catalog, pg_temp
as $$
select g.generation, p.partition
from generate_series(-1, 3) g (generation)
cross join format('pg2kafka.outbound_event_queue_%s', case g.generation when -1 then 'replayed' else g.generation::text end) n (name)
cross join to_regclass(n.name) p (partition)
where pg_relation_size(p.partition) > 0 and (g.generation = -1 or (
  select bool_and((date_part('epoch', clock_timestamp() + ahead)::bigint / 120 - g.generation) % 4 > 1)
  from (values (interval '0'), (interval '10 s')) t (ahead)
))
$$;
