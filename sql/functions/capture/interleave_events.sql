/* Put the events of a statement, and those of the statements that were nested in it, in the order
   in which the rows were changed, by giving all of them new ids.

   p_mark  of the statement; its own events are those with ids above p_last, one for each row,
           in the order of the rows. An UPDATE's that turned out to have changed nothing goes.

   What is noted of a statement that is still open moves along: INSERT ... ON CONFLICT DO UPDATE
   and MERGE are several at once, and nested ones belong to each of them. */
create or replace function pg2kafka.interleave_events(
  p_relation oid, p_mark bigint, p_last bigint, p_schema text, p_table text
)
returns void
language sql
as $$
with moved as (
  delete from pg2kafka.outbound_event_queue
  where xact = pg_current_xact_id() and id > p_mark and table_schema = p_schema and table_name = p_table
  returning *, id > p_last as is_own
),
placed as (
  select m.*,
    case when is_own then row_number() over (partition by is_own order by id) else coalesce((
      select rows_before from pg2kafka.nested_statements n
      where n.mark = p_mark and n.relation = p_relation and n.after_id < m.id
      order by n.after_id desc, n.rows_before desc
      limit 1
    ), 0) end as place
  from moved m
),
forgotten as (
  delete from pg2kafka.nested_statements where mark = p_mark and relation = p_relation
),
renewed as (
  insert into pg2kafka.outbound_event_queue
    (generation, uuid, external_id, table_schema, table_name, statement, data, created_at)
  select generation, uuid, external_id, table_schema, table_name, statement, data, created_at
  from placed
  where not is_own or statement <> 'UPDATE' or data::text is distinct from '{}'
  order by place, is_own desc, id
  returning id, uuid
)
update pg2kafka.nested_statements n
set after_id = coalesce(
  (select min(r.id) - 1 from renewed r join moved m using (uuid) where not m.is_own and m.id > n.after_id),
  (select max(id) from renewed),
  n.after_id
)
where n.relation = p_relation and n.mark <> p_mark and n.after_id > p_mark
$$;
