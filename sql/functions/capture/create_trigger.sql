/* Create one trigger, named <table>_enqueue_event and p_suffix, cut to what fits a name; with
   '!' in front of it instead where p_suffix is '!'. */
create or replace function pg2kafka.create_trigger(
  p_table regclass, p_suffix text, p_event text, p_each text, p_call text
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  c_name_length_max constant integer := 63;
  v_table text := (select relname from pg_catalog.pg_class where oid = p_table);
  v_affix text := '_enqueue_event' || p_suffix;
  v_name text;
begin
  while octet_length(v_table || v_affix) > c_name_length_max loop
    v_table := left(v_table, -1);
  end loop;
  v_name := case p_suffix when '!' then '!' || v_table || '_enqueue_event' else v_table || v_affix end;
  execute format('create trigger %I %s on %s %s execute function %s', v_name, p_event, p_table, p_each, p_call);
  execute format('alter table %s enable always trigger %I', p_table, v_name);
end;
$$;
