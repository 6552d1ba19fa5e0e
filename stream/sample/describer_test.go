package sample

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// An object that is dropped while it is read is no news; one that can never be
// read is, and so is any other fault.
func TestOvertakenReadings(t *testing.T) {
	d := &describer{}
	gone := fmt.Errorf("read: %w", &pgconn.PgError{Code: "XX000", Message: "cache lookup failed for type 5"})
	for i := range overtakenAtMost {
		if err := d.judge(gone); !errors.Is(err, errOvertaken) {
			t.Fatalf("reading %d: %v", i, err)
		}
	}
	if err := d.judge(gone); errors.Is(err, errOvertaken) || err == nil {
		t.Errorf("one that fails again and again: %v", err)
	}
	if err := d.judge(nil); err != nil {
		t.Error(err)
	}
	if err := d.judge(gone); !errors.Is(err, errOvertaken) {
		t.Errorf("after one that went well: %v", err)
	}
	if err := d.judge(&pgconn.PgError{Code: "53100"}); err == nil || errors.Is(err, errOvertaken) {
		t.Errorf("a full disk: %v", err)
	}
}
