/* The JSON of a value whose type has a cast to JSON of its own; where that refuses the value, its text.
   Without a search path of its own, which would cost more than the rest: each name is qualified. */
create or replace function pg2kafka.json_or_text(p_value anyelement)
returns json
language plpgsql
stable
as $$
begin
  return pg_catalog.to_json(p_value);
-- OTHERS leaves out a failed ASSERT.
exception when others or assert_failure then
  -- Not by a cast, which may be somebody's own as well.
  return pg_catalog.to_json(pg_catalog.format('%s', p_value));
end;
$$;
