/* The sum of numbers, nulls left out. */
create or replace function pg2kafka.total(p_numbers integer[])
returns bigint
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select coalesce(sum(n), 0)::bigint from unnest(p_numbers) n
$$;
