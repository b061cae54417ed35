/* SQL for whether the JSON of the row n can be made.

   JSON must stay below 1 GB, the largest value of Postgres, and escaping makes up to six bytes of
   one. How long a text is costs nothing to know. Of other values the stored size does, but is
   compressed, at most 255 to 1: below 512 KB nothing can go wrong. Above 128 MB no broker takes
   the event. Between, measure.

   What a row always pays for is a comparison of the largest one: preparing an expression costs a
   statement on one row more than anything else, so the rest is left to rows that are large. */
create or replace function pg2kafka.json_fits(p_columns text[], p_types regtype[])
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select case when count(*) = 0 then 'true' else
  format(
    'case when %s then true when %s then false else pg2kafka.total(array[%s]) < 170000000 end',
    concat_ws(
      ' and ',
      '(greatest(' || string_agg(size, ', ') filter (where is_text)
        || ') > ' || 85000000 / nullif(count(*) filter (where is_text), 0) || ') is not true',
      '(greatest(' || string_agg(size, ', ') filter (where not is_text)
        || ') > ' || 262144 / nullif(count(*) filter (where not is_text), 0) || ') is not true'
    ),
    coalesce(
      'pg2kafka.total(array[' || string_agg(size, ', ') filter (where not is_text) || ']) > 134217728', 'false'
    ),
    -- Not by a cast, which may be somebody's own, and refuse it.
    string_agg(format('octet_length(concat(n.%I))', name), ', ')
  )
end
from (
  select c.name, c.is_text,
    format(case when c.is_text then 'octet_length(n.%I)' else 'pg_column_size(n.%I)' end, c.name) as size
  from (
    select c.name, t.oid is not null and t.oid in ('text'::regtype, 'varchar'::regtype) as is_text
    from unnest(p_columns, p_types) as c (name, type)
    left join pg_type t on t.oid = c.type
    where t.oid is null or t.typlen = -1 and t.oid <> 'numeric'::regtype
  ) c
) c
$$;
