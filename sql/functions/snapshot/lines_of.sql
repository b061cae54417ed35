/* Every place in some blocks of a table where a row may be, for a Postgres that reads no range of
   places; null for later ones, from 14 on. A row takes 28 bytes or more, with what points to it. */
create or replace function pg2kafka.lines_of(p_from_block bigint, p_to_block bigint)
returns tid[]
language sql
set search_path = pg_catalog, pg_temp
as $$
select array_agg(format('(%s,%s)', b, l)::tid)
from generate_series(p_from_block, p_to_block - 1) b
cross join generate_series(1, current_setting('block_size')::integer / 28) l
where current_setting('server_version_num')::integer < 140000
$$;
