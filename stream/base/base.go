package base

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/stream/source"
)

// Progress is how far a dump has come.
type Progress struct {
	TextBytes, StoredBytes int64
	Tables                 int // whose data is complete
	TotalTables            int
	Table                  string // being dumped
}

// Result is what one dump made.
type Result struct {
	Base, Globals catalog.Artifact
	Tables        int
	Rows          int64
	Duration      time.Duration
	Fault         string // what keeps the stream behind it from being complete; empty: nothing
}

// FenceError says that a command which a dump cannot see past committed while
// it ran.
type FenceError struct{ What string }

func (e *FenceError) Error() string {
	return "the dump cannot be used: " + e.What + " while it was taken"
}

// DumpError says that an external tool failed.
type DumpError struct {
	Tool   string
	Reason string
	Err    error
	Major  int // version of the server, for which the tool is missing or too old; 0: it failed
}

func (e *DumpError) Error() string { return fmt.Sprintf("%s failed: %s", e.Tool, e.Reason) }
func (e *DumpError) Unwrap() error { return e.Err }

// CheckTools makes sure that the tools can dump this server, and returns what
// pg_dump says of its version.
func CheckTools(ctx context.Context, command source.Commander, src source.Server) (version string, err error) {
	tools := []string{"pg_dump", "pg_dumpall"}
	versions, faults := make([]string, len(tools)), make([]error, len(tools))
	var wait sync.WaitGroup
	for i, tool := range tools {
		wait.Go(func() {
			var major int
			versions[i], major, faults[i] = source.ToolVersion(ctx, command, tool)
			if faults[i] != nil {
				faults[i] = &DumpError{tool, "it cannot be run: " + faults[i].Error(), faults[i], src.Major()}
			} else if major < src.Major() {
				faults[i] = &DumpError{tool, fmt.Sprintf("it is of version %d, older than the server's %d", major, src.Major()), nil, src.Major()}
			}
		})
	}
	wait.Wait()
	return versions[0], cmp.Or(faults[0], faults[1])
}
