/* Whether what a single lane has left can be shared among several: not while it is made up of the
   rests of other shares, nor while a batch of it may be in Kafka. */
create or replace function pg2kafka.may_spread(p_lanes jsonb)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
select not exists (select from jsonb_array_elements(p_lanes #> '{0,position,spans}') s where s ? 'lane')
  and coalesce(p_lanes #> '{0,transaction,begun}', 'null') = 'null'
$$;
