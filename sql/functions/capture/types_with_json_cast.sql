/* Of some types those whose values' JSON is made by one of json_cast_sources(): of the type itself, or of
   what its values are made of. Such a cast may refuse a value. */
create or replace function pg2kafka.types_with_json_cast(p_types regtype[])
returns regtype[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
with recursive part as (
  select u.type as whole, u.type::oid as type from unnest(p_types) u (type)
  union
  select p.whole, inner_part.type
  from part p
  join pg_catalog.pg_type t on t.oid = p.type
  cross join lateral (
    select unnest(array[t.typelem, t.typbasetype]) as type
    union all
    select a.atttypid from pg_catalog.pg_attribute a
    where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  ) inner_part
  where inner_part.type <> 0
)
select coalesce(array_agg(distinct p.whole), '{}')
from part p
join pg2kafka.json_cast_sources() as source on source = p.type
$$;
