-- Who is a member of which role.
SELECT DISTINCT ON (1) r.rolname || chr(31) || u.rolname, {{forgiving}}format('GRANT %I TO %I%s', r.rolname, u.rolname, {{options}})))
FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE m.member >= 16384 ORDER BY 1, m.admin_option DESC
