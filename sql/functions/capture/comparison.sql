/* SQL for whether a column differs between the rows o and n; p_type is null where its type is not
   known.

   Equal numbers count as unchanged, as they do in pg2kafka: 1.0 and 1.00. All else is compared
   byte by byte: there are types without an equality, and collations in which 'a' equals 'A'.
   Where a type's own equality is one of bytes it is used, because it is much faster; but of Postgres'
   own types only: somebody's implicit cast would make it ambiguous. */
create or replace function pg2kafka.comparison(p_column text, p_type regtype)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select format(
  case
    when p_type is null then
      $sql$case when pg_typeof(n.%1$I) in ('numeric'::regtype, 'jsonb'::regtype)
          then to_jsonb(n.%1$I) is distinct from to_jsonb(o.%1$I)
          else record_image_ne(row(n.%1$I), row(o.%1$I)) end$sql$
    when p_type in ('text'::regtype, 'varchar'::regtype) then
      'n.%1$I collate "C" is distinct from o.%1$I collate "C"'
    when p_type in (
      'boolean'::regtype, 'smallint'::regtype, 'integer'::regtype, 'bigint'::regtype, 'numeric'::regtype,
      'date'::regtype, 'time'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'uuid'::regtype,
      'bytea'::regtype, 'jsonb'::regtype
    ) then
      'n.%1$I is distinct from o.%1$I'
    else 'record_image_ne(row(n.%1$I), row(o.%1$I))'
  end,
  p_column
)
$$;
