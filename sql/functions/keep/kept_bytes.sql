/* What the kept events take on disk. */
create or replace function pg2kafka.kept_bytes()
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
select coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint
from pg_catalog.pg_inherits where inhparent = 'pg2kafka.delivered_events'::regclass
$$;
