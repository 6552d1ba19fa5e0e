-- management functions of PostGIS that make tables, columns and schemas by dynamic SQL; geometry in FULL identities and keys
-- correct: schemas of topologies, topology.topology, topology.layer, checks, rules and rows equal; no mark
SELECT AddGeometryColumn('public', 'c35_shape', 'line', 4326, 'LINESTRING', 2);
UPDATE c35_shape SET line = 'SRID=4326;LINESTRING(0 0,1 1)' WHERE id = 1;
UPDATE c35_shape SET id = id + 10; DELETE FROM c35_shape WHERE id = 12;
ALTER TABLE c35_shape ALTER COLUMN line TYPE geometry(MultiLineString, 4326) USING ST_Multi(line);
SELECT UpdateGeometrySRID('public', 'c35_shape', 'line', 3857);
CREATE TABLE c35_key (g geometry(Point, 4326) PRIMARY KEY, v text);
INSERT INTO c35_key VALUES ('SRID=4326;POINT(1 1)', 'a'), ('SRID=4326;POINT(1 1.0000000001)', 'b');
UPDATE c35_key SET v = 'c' WHERE v = 'b'; UPDATE c35_key SET g = 'SRID=4326;POINT(2 2)' WHERE v = 'a';
CREATE INDEX ON c35_shape USING gist (g); CREATE INDEX ON c35_key USING gist (ST_Buffer(g, 1));
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (935001, 'c35', 935001, 'LOCAL_CS["stream"]', '+proj=longlat');
UPDATE spatial_ref_sys SET proj4text = '+proj=longlat +c35' WHERE srid = 4326;
DELETE FROM spatial_ref_sys WHERE srid = 935000;
SELECT topology.CreateTopology('c35_topo', 4326, 0.0001);
CREATE TABLE c35_parcel (id int PRIMARY KEY, name text);
SELECT topology.AddTopoGeometryColumn('c35_topo', 'public', 'c35_parcel', 'topo', 'POLYGON');
INSERT INTO c35_parcel (id, name, topo) SELECT 1, 'p', topology.toTopoGeom(ST_GeomFromText('POLYGON((0 0,0 1,1 1,1 0,0 0))', 4326), 'c35_topo', 1, 0.0001);
INSERT INTO c35_parcel (id, name, topo) SELECT 2, 'q', topology.toTopoGeom(ST_GeomFromText('POLYGON((1 0,1 1,2 1,2 0,1 0))', 4326), 'c35_topo', 1, 0.0001);
UPDATE c35_parcel SET name = 'r' WHERE id = 2;
SELECT topology.TopoGeo_AddPoint('c35_base', ST_SetSRID(ST_MakePoint(0, 0), 4326), 0);
SELECT topology.AddTopoGeometryColumn('c35_base', 'public', 'c35_parcel', 'other', 'POINT');
SELECT topology.DropTopoGeometryColumn('public', 'c35_parcel', 'other');
SELECT topology.DropTopology('c35_base');
SELECT DropGeometryColumn('public', 'c35_shape', 'line');
