/* Set the formats of all_formats(), until the transaction ends.

   p_values  for each, in their order; null: as they are to be where events are made
   Returns   what they were, for the caller to set again */
create or replace function pg2kafka.set_formats(p_values text[])
returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_format record;
  v_before text[];
begin
  for v_format in select * from pg2kafka.all_formats() with ordinality as f (name, value, nth) loop
    v_before := v_before || current_setting(v_format.name);
    perform set_config(v_format.name, coalesce(p_values[v_format.nth], v_format.value), true);
  end loop;
  return v_before;
end;
$$;
