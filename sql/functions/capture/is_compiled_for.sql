/* Whether a table has the columns, with their types, that its capture function was compiled for.

   Not immutable, but declared so: a call with constants is evaluated when the statement around
   it is planned, and the regclass makes Postgres plan it anew after an ALTER TABLE. So it costs
   nothing per call, and is never out of date.

   Returns false also where the table is gone or may not be read: then the capture function goes
   by what it sees. No error may come from here; a subtransaction per plan is bearable. */
create or replace function pg2kafka.is_compiled_for(p_table regclass, p_types text)
returns boolean
language plpgsql
immutable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return pg2kafka.column_types(p_table) = p_types;
exception when others then
  return false;
end;
$$;
