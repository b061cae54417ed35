/* The SET clauses for a capture function: of all_formats(), those on which its events depend. Each
   of them costs every statement.

   p_columns      the table's columns, as column_types() has them; null: any
   p_external_id  the column that becomes the key; null where it is gone

   What is not known to depend on less depends on all. */
create or replace function pg2kafka.formats_of(p_columns text, p_external_id text, p_operation text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select coalesce(string_agg(format('set %I = %L', f.name, f.value), E'\n'), '')
from pg2kafka.all_formats() f
where p_columns is null or exists (
  select
  from (
    select c.value::regtype as type, c.key is not distinct from p_external_id as is_key
    from json_each_text(p_columns::json) c
  ) c
  where (c.is_key or p_operation <> 'DELETE')
    and case
      when c.type in (
        'boolean'::regtype, 'smallint'::regtype, 'integer'::regtype, 'bigint'::regtype, 'numeric'::regtype,
        'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'uuid'::regtype, 'json'::regtype, 'jsonb'::regtype
      ) or exists (select from pg_catalog.pg_type where oid = c.type and typtype = 'e') then false
      -- A key is cast to text; what follows holds for JSON only.
      when c.is_key then true
      when c.type in ('date'::regtype, 'time'::regtype, 'timestamp'::regtype) then false
      when c.type = 'timestamptz'::regtype then f.name = 'timezone'
      when c.type = 'interval'::regtype then f.name = 'intervalstyle'
      when c.type in ('real'::regtype, 'double precision'::regtype) then f.name = 'extra_float_digits'
      when c.type = 'bytea'::regtype then f.name = 'bytea_output'
      else true
    end
)
$$;
