/* The snapshots that the drain makes or has made, and how far they are.

   rows              SNAPSHOT events made
   rows_left         an estimate, from what was read so far, or from what ANALYZE has found
   waits_for_parked  no step is made while its topic takes nothing: see pg2kafka.parked

   Whoever may read a view needs a right of their own on functions in it: so there are none of ours. */
create or replace view pg2kafka.snapshots as
select s.id, s.relation, s.condition, cardinality(s.keys) as keys, s.state,
  case s.state when 'finished' then e.blocks else coalesce(c.blocks_done, 0) end as blocks_done, e.blocks,
  coalesce(c.rows, s.rows) as rows,
  case when s.ended_at is not null then 0
    when c.blocks_done > 0 then (c.rows * greatest(0, e.blocks - c.blocks_done) / c.blocks_done)::bigint
    else (select coalesce(sum(greatest(0, reltuples)), 0)::bigint from pg_catalog.pg_class where oid = any (s.relations::oid[]))
  end as rows_left,
  s.state = 'running' and exists (
    select from pg2kafka.parked_events e
    join pg2kafka.external_id_relations r on (r.table_schema, r.table_name) = (e.table_schema, e.table_name)
    where r.id = s.tracked_id and e.scope = 'topic'
  ) as waits_for_parked,
  s.started_by, s.started_at, s.ended_at, s.error
from pg2kafka.table_snapshots s
cross join lateral (select coalesce(sum(n), 0)::bigint as blocks from unnest(s.ends) n) e
left join lateral (
  select min(blocks_done) as blocks_done, sum(rows)::bigint as rows
  from (
    select distinct on (lanes, lane) blocks_done, rows from pg2kafka.snapshot_scans
    where snapshot_id = s.id order by lanes, lane, number desc
  ) l
  having count(*) > 0
) c on true;
