/* The settings on which the text of values depends, and what they are to be where events are made:
   text that says the same wherever it is read. */
create or replace function pg2kafka.all_formats()
returns table (name text, value text)
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
values ('timezone', 'UTC'), ('datestyle', 'ISO'), ('intervalstyle', 'postgres'),
  ('extra_float_digits', '1'), ('bytea_output', 'hex')
$$;
