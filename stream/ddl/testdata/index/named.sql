CREATE TABLE "on" (i int)
-- record
CREATE INDEX "on x" ON "on" (i)
