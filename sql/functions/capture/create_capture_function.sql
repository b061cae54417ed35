/* Create a trigger function, or replace it.

   p_formats  its SET clauses; see formats_of()
   p_body     quoted here as a whole, for it has names of the application's */
create or replace function pg2kafka.create_capture_function(p_name text, p_formats text, p_body text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    $sql$create or replace function pg2kafka.%I()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
%s
as %L$sql$,
    p_name, p_formats, p_body
  );
  execute format('revoke execute on function pg2kafka.%I() from public', p_name);
end;
$$;
