/* An error as it may be shown: its code, and its text where that is about names, rights and
   resources. Others may quote values of rows. */
create or replace function pg2kafka.safe_error(p_code text, p_message text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select case when left(p_code, 2) in ('0A', '42', '53', '54', '55', '57', '58')
  then format('%s: %s', p_code, p_message)
  else format('%s: not shown, for its text may quote rows. The same query shows it, run by hand.', p_code)
end
$$;
