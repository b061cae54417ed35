/* The name, among p_columns, of the column that setup() was told to use as the external id: by
   its name or, where it was renamed since, by its number. Null where it was dropped.

   p_relation  the table as the trigger sees it now; p_compiled  as it was when p_attnum was
   noted. They differ after a dump was restored, and then the number means nothing.

   Reads no table: the caller's snapshot may be older than the last ALTER TABLE, while these
   functions of Postgres show the table as it is now. */
create or replace function pg2kafka.external_id_column(
  p_columns text[], p_name text, p_relation oid, p_compiled oid, p_attnum smallint
)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text := p_name;
begin
  if p_name <> all (p_columns) and p_relation = p_compiled then
    v_name := (pg_identify_object_as_address('pg_class'::regclass, p_relation, p_attnum)).object_names[3];
  end if;
  return case when v_name = any (p_columns) then v_name end;
end;
$$;
