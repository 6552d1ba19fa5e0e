SELECT lo_create(77000001), lo_create(77000002)
-- record
COMMENT ON LARGE OBJECT 77000001 IS 'a \ backslash'
-- clean
SELECT lo_unlink(77000001), lo_unlink(77000002)
