-- before init
CREATE EXTENSION postgis;
CREATE EXTENSION postgis_topology;
CREATE TABLE c35_shape (id int, g geometry, gg geography, b box2d);
INSERT INTO c35_shape VALUES (1, 'SRID=4326;POINT(1 2)', 'POINT(1 2)', NULL), (2, 'POINT EMPTY', 'POINT EMPTY', 'BOX(0 0,1 1)'), (3, 'POINT(NaN NaN)', NULL, NULL);
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (935000, 'c35', 935000, 'LOCAL_CS["base"]', '+proj=longlat');
SELECT topology.CreateTopology('c35_base', 4326, 0.0001);
