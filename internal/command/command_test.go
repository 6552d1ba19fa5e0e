package command

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func run(ctx context.Context, p *Process) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	return p.Wait()
}

func TestOutcomes(t *testing.T) {
	ctx := context.Background()
	if err := run(ctx, Shell("echo fine >&2")); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]Error{
		"echo one >&2; echo ' two' >&2; exit 3": {Program: "echo one >&2; echo ' two' >&2; exit 3", Code: 3, Said: "one two"},
		"kill -TERM $$":                         {Program: "kill -TERM $$", Code: -1},
	} {
		var e *Error
		var exit *exec.ExitError
		if err := run(ctx, Shell(text)); !errors.As(err, &e) || !errors.As(err, &exit) || e.Program != want.Program || e.Code != want.Code || e.Said != want.Said ||
			e.Ended {
			t.Errorf("%s: %+v", text, err)
		}
	}
	var e *Error
	if err := run(ctx, New(exec.Command("/nowhere/program"), "program")); !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) || e.Code != -1 {
		t.Errorf("a program that is not there: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := run(gone, Shell("true")); !errors.Is(err, context.Canceled) {
		t.Errorf("behind its context: %v", err)
	}
}

// TestGroup: whatever ends a program ends what it has started too, and the first reason is the one that Wait returns.
func TestGroup(t *testing.T) {
	given := errors.New("given up")
	for name, end := range map[string]func(p *Process, cancel context.CancelCauseFunc){
		"its caller":  func(p *Process, _ context.CancelCauseFunc) { p.Kill(given); p.Kill(errors.New("later")) },
		"its context": func(_ *Process, cancel context.CancelCauseFunc) { cancel(given) },
	} {
		t.Run(name, func(t *testing.T) {
			mark := filepath.Join(t.TempDir(), "alive")
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			p := Shell("(sleep 1; touch " + mark + ") & echo begun; wait")
			out, err := p.Cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			end(p, cancel)
			err = p.Wait()
			if e, ok := errors.AsType[*Error](err); !ok || !e.Ended || !errors.Is(err, given) || p.Wait() != err {
				t.Errorf("it ended with %v", err)
			}
			p.Kill(given) // nothing is left that it could reach
			time.Sleep(1500 * time.Millisecond)
			if _, err := os.Stat(mark); err == nil {
				t.Error("what it started lives on")
			}
		})
	}
}

// TestLimit: standing still counts only while somebody watches, and progress begins the count anew.
func TestLimit(t *testing.T) {
	begin := func() *Process {
		p := Shell("exec sleep 30")
		p.Limit = 200 * time.Millisecond
		if err := p.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := begin()
	p.Watch()
	if err := p.Wait(); !errors.Is(err, ErrIdle) {
		t.Errorf("a watched program that stands still: %v", err)
	}
	p = begin()
	p.Watch()
	p.Pause()
	p.Progress() // nobody watches
	time.Sleep(500 * time.Millisecond)
	p.Kill(errors.New("given up"))
	if err := p.Wait(); errors.Is(err, ErrIdle) {
		t.Error("an unwatched program was ended")
	}
	p = begin()
	p.Limit = 2 * time.Second
	p.Watch()
	for range 6 {
		time.Sleep(500 * time.Millisecond)
		p.Progress()
	}
	p.Kill(errors.New("given up"))
	if err := p.Wait(); errors.Is(err, ErrIdle) {
		t.Error("a program that makes progress was ended")
	}
}

func TestTail(t *testing.T) {
	var tail Tail
	for range 1000 {
		io.WriteString(&tail, strings.Repeat("x", 99)+"\n")
	}
	io.WriteString(&tail, "the end\xff")
	if n := len(tail.String()); n < tailKept || n > 2*tailKept || !strings.HasSuffix(tail.String(), "the end\xff") {
		t.Errorf("%d bytes are kept", n)
	}
	if got := tail.Line(8); got != "…the end?" {
		t.Errorf("the last line is %q", got)
	}
	io.WriteString(&tail, strings.Repeat("y", 100<<10)+"ä\n b ")
	if got := tail.Line(4); got != "…ä b" && got != "…yä b" {
		t.Errorf("behind a large piece the last line is %q", got)
	}
	if n := len(tail.String()); n != tailKept {
		t.Errorf("of a large piece %d bytes are kept", n)
	}
}
