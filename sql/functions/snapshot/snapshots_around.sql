/* The two snapshots between which there is one transaction's work and nothing else.

   p_seen  a snapshot that this transaction took
   p_xact  its id, which it had by then

   Returns  what p_seen shows of others, and the same with p_xact completed
   Errors:  PK002 when too many ids were drawn and not ended since; those of the next transaction
            are fewer.

   Postgres leaves a transaction's own id out of the list of those in progress. So where a later
   one has ended, p_seen shows p_xact already; else p_xact is beyond it, and those between are listed
   as in progress. */
create or replace function pg2kafka.snapshots_around(
  p_seen pg_snapshot, p_xact xid8, out before pg_snapshot, out after pg_snapshot
)
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  c_between_max constant integer := 10000;
  v_xmin constant bigint := pg_snapshot_xmin(p_seen)::text;
  v_xmax constant bigint := pg_snapshot_xmax(p_seen)::text;
  v_xact constant bigint := p_xact::text;
begin
  if v_xact < v_xmax then
    select format('%s:%s:%s', v_xmin, v_xmax, string_agg(x.xact::text, ',' order by x.xact)) into before
    from (select pg_snapshot_xip(p_seen) as xact union select p_xact) x;
    after := p_seen;
    return;
  end if;
  if v_xact - v_xmax > c_between_max then
    raise exception 'pg2kafka: % transaction ids were drawn and not ended between a snapshot and its own; at most % are listed',
      v_xact - v_xmax, c_between_max
    using errcode = 'PK002', hint = 'The next step has fewer.';
  end if;
  before := p_seen;
  select format('%s:%s:%s', v_xmin, v_xact + 1, string_agg(x.xact::text, ',' order by x.xact)) into after
  from (
    select pg_snapshot_xip(p_seen)::text::bigint as xact
    union all
    select generate_series(v_xmax, v_xact - 1)
  ) x;
end;
$$;
