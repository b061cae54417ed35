/* Whether setup() may read a table while its writers wait: up to 5,000 rows, whose events took 70 ms
   of processor time, and 4 MB. */
create or replace function pg2kafka.is_small(p_table regclass)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set row_security = off
as $$
declare
  c_bytes_max constant bigint := 4194304;
  c_rows_max constant integer := 5000;
  v_rows integer;
begin
  if (
    select sum(pg_table_size(t.relation))
    from (select p_table as relation union all select m.relation from pg2kafka.table_members(p_table) m) t
  ) > c_bytes_max then
    return false;
  end if;
  execute format('select count(*) from (select from %s limit %s) r', p_table, c_rows_max + 1) into v_rows;
  return v_rows <= c_rows_max;
end;
$$;
