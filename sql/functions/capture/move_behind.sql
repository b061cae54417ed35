/* Give the events that this transaction made for a table, with ids in (p_range[1], p_range[2]],
   new ids in the same order: statements nested in another come after it. */
create or replace function pg2kafka.move_behind(p_range bigint[], p_schema text, p_table text)
returns void
language sql
as $$
with moved as (
  delete from pg2kafka.outbound_event_queue
  where xact = pg_current_xact_id() and id > p_range[1] and id <= p_range[2]
    and table_schema = p_schema and table_name = p_table
  returning *
)
insert into pg2kafka.outbound_event_queue
  (generation, uuid, external_id, table_schema, table_name, statement, data, created_at)
select generation, uuid, external_id, table_schema, table_name, statement, data, created_at
from (select * from moved order by id) m
$$;
