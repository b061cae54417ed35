/* A database as the Go service pg2kafka leaves it: the same tables, columns, functions and
   triggers by name, written anew from their description. */
create schema pg2kafka;
create sequence pg2kafka.outbound_event_queue_id;
create table pg2kafka.outbound_event_queue (
  id integer not null default nextval('pg2kafka.outbound_event_queue_id'),
  uuid uuid not null default gen_random_uuid(),
  external_id varchar(255),
  table_name varchar(255) not null,
  statement varchar(20) not null,
  data jsonb not null,
  created_at timestamp not null default current_timestamp,
  processed boolean default false
);
create index outbound_event_queue_id_index on pg2kafka.outbound_event_queue (id);
create sequence pg2kafka.external_id_relations_id;
create table pg2kafka.external_id_relations (
  id integer not null default nextval('pg2kafka.external_id_relations_id'),
  external_id varchar(255) not null,
  table_name varchar(255) not null
);

create function pg2kafka.enqueue_event() returns trigger language plpgsql as $$
declare
  key_column text;
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  payload jsonb;
begin
  select external_id into key_column from pg2kafka.external_id_relations where table_name = tg_table_name;
  if tg_op = 'INSERT' then
    payload := after;
  elsif tg_op = 'UPDATE' then
    select coalesce(jsonb_object_agg(key, value), '{}') into payload
    from jsonb_each(after) where value is distinct from before -> key;
    if payload = '{}' then
      return new;
    end if;
  else
    payload := '{}';
  end if;
  insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
  values (coalesce(before, after) ->> key_column, tg_table_name, tg_op, payload);
  notify outbound_event_queue;
  return new;
end $$;

create function pg2kafka.create_snapshot_events(snapshot_of regclass) returns void language plpgsql as $$
declare
  key_column text := (select external_id from pg2kafka.external_id_relations where table_name = snapshot_of::text);
begin
  execute format(
    'insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
     select to_jsonb(t) ->> %L, %L, ''SNAPSHOT'', to_jsonb(t) from %s t', key_column, snapshot_of, snapshot_of
  );
end $$;

create function pg2kafka.setup(tracked regclass, key_column text) returns void language plpgsql as $$
begin
  insert into pg2kafka.external_id_relations (external_id, table_name) values (key_column, tracked::text);
  execute format(
    'create trigger %I after insert or update or delete on %s for each row execute function pg2kafka.enqueue_event()',
    tracked || '_enqueue_event', tracked
  );
  perform pg2kafka.create_snapshot_events(tracked);
end $$;
