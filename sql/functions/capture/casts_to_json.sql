/* Whether the JSON of a type's values is made by a cast that somebody has defined, as extensions do: of
   the type itself, or of what its values are made of. Such a cast may refuse a value. */
create or replace function pg2kafka.casts_to_json(p_type regtype)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
with recursive part as (
  select p_type::oid as type
  union
  select inner_part.type
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
select exists (
  select from part p
  join pg_catalog.pg_cast c on c.castsource = p.type and c.casttarget = 'json'::regtype
)
$$;
