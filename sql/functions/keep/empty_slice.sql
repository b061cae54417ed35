/* Empty a slice of delivered_events. Returns false where somebody holds it: nobody waits. */
create or replace function pg2kafka.empty_slice(p_slice smallint)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_slice constant regclass := format('pg2kafka.delivered_events_%s', p_slice);
begin
  if pg_relation_size(v_slice) > 0 then
    execute format('lock table only %s in access exclusive mode nowait', v_slice);
    execute format('truncate table only %s', v_slice);
  end if;
  return true;
exception when lock_not_available then
  return false;
end;
$$;
