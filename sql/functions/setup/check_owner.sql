/* Refuse a caller who does not own the table, directly or as a member of the owning role; and
   say so where the owner of pg2kafka itself does not: it runs the triggers and the snapshots.

   In a SECURITY DEFINER function current_user is its owner; the caller is the role that was
   SET, or else the session's. While Postgres runs an owner's code for somebody else, as in ANALYZE, that
   is not the caller: then UNLISTEN is refused, which otherwise does nothing. */
create or replace function pg2kafka.check_owner(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_caller name := case current_setting('role') when 'none' then session_user else current_setting('role')::name end;
  v_owner oid := (select relowner from pg_catalog.pg_class where oid = p_table);
begin
  execute 'unlisten pg2kafka_restricted';
  if not pg_has_role(v_caller, v_owner, 'usage') then
    raise exception 'pg2kafka: role % does not own table %', v_caller, p_table
    using errcode = 'insufficient_privilege', hint = format('Call this as %s, the owner of the table.', v_owner::regrole);
  end if;
  if not pg_has_role(current_user, v_owner, 'usage') then
    raise exception 'pg2kafka: role %, which owns pg2kafka, has no rights on table %', current_user, p_table
    using errcode = 'insufficient_privilege', hint = format('Run: grant %s to %s', v_owner::regrole, quote_ident(current_user));
  end if;
end;
$$;
