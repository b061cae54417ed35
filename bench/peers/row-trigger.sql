/* A capture that works the way pg2kafka's does, in our own words: a trigger for each row, the
   external id's name looked up in a table, its value taken by dynamic SQL, the difference of two
   rows made in a loop over their jsonb, one insert and one notification for each row. */
create schema peer;

create table peer.outbound_event_queue (
  id bigserial,
  uuid uuid not null default gen_random_uuid(),
  external_id varchar(255),
  table_name varchar(255) not null,
  statement varchar(20) not null,
  data jsonb not null,
  created_at timestamp not null default now(),
  processed boolean not null default false
);
create index on peer.outbound_event_queue (id);

create table peer.external_id_relations (
  id serial primary key,
  external_id varchar(255) not null,
  table_name varchar(255) not null
);

create function peer.enqueue_event()
returns trigger
language plpgsql
as $$
declare
  v_column text;
  v_external_id text;
  v_row record;
  v_old jsonb;
  v_data jsonb := '{}';
  v_name text;
  v_value jsonb;
begin
  select r.external_id into v_column from peer.external_id_relations r where r.table_name = tg_table_name;
  if tg_op = 'INSERT' then
    v_row := new;
    v_data := to_jsonb(new);
  else
    v_row := old;
  end if;
  if tg_op = 'UPDATE' then
    v_old := to_jsonb(old);
    for v_name, v_value in select * from jsonb_each(to_jsonb(new)) loop
      if v_value is distinct from v_old -> v_name then
        v_data := v_data || jsonb_build_object(v_name, v_value);
      end if;
    end loop;
    if v_data = '{}' then
      return null;
    end if;
  end if;
  execute format('select ($1).%I::text', v_column) into v_external_id using v_row;

  insert into peer.outbound_event_queue (external_id, table_name, statement, data)
  values (v_external_id, tg_table_name, tg_op, v_data);
  perform pg_notify('outbound_event_queue', tg_op);
  return null;
end;
$$;
