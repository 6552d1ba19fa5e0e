TRUNCATE ONLY "public"."a", ONLY "public"."r1", ONLY "public"."r2" CASCADE;
INSERT INTO "public"."a" ("id") OVERRIDING SYSTEM VALUE VALUES ('1');
INSERT INTO "public"."r1" ("id", "a") OVERRIDING SYSTEM VALUE VALUES ('1', '1');
INSERT INTO "public"."r2" ("id", "a") OVERRIDING SYSTEM VALUE VALUES ('15', '1');
TRUNCATE ONLY "public"."a", ONLY "public"."r1", ONLY "public"."r2" CASCADE;
TRUNCATE ONLY "public"."par" CASCADE;
TRUNCATE ONLY "public"."par", ONLY "public"."chi" RESTART IDENTITY CASCADE;
