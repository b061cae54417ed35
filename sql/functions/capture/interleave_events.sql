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
language plpgsql
as $$
declare
  -- All that a transaction writes is in one, by the queue's default for generation. To name it keeps the
  -- statement from locking the others, one of which a drain may be emptying.
  c_partition constant text := 'pg2kafka.outbound_event_queue_' || date_part('epoch', now())::bigint / 120 % 4;
begin
  execute format(
    $sql$with moved as (
      delete from only %s
      where xact = pg_current_xact_id() and id > $2 and table_schema = $4 and table_name = $5
      returning *, id > $3 as is_own
    ), placed as (
      select m.*,
        case when is_own then row_number() over (partition by is_own order by id) else coalesce((
          select rows_before from pg2kafka.nested_statements n
          where n.mark = $2 and n.relation = $1 and n.after_id < m.id
          order by n.after_id desc, n.rows_before desc
          limit 1
        ), 0) end as place
      from moved m
    ), forgotten as (
      delete from pg2kafka.nested_statements where mark = $2 and relation = $1
    ), renewed as (
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
    where n.relation = $1 and n.mark <> $2 and n.after_id > $2$sql$, c_partition
  ) using p_relation, p_mark, p_last, p_schema, p_table;
end;
$$;
