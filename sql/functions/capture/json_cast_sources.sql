/* The types with a cast to json that somebody has defined, as extensions do. Of Postgres' own types, below
   FirstNormalObjectId, to_json() asks for no cast. */
create or replace function pg2kafka.json_cast_sources()
returns setof oid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select castsource from pg_catalog.pg_cast where castsource >= 16384 and casttarget = 'json'::regtype
$$;
