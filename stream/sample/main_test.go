package sample

import (
	"testing"

	"pg_scribe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
