package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pg_scribe/internal/command"
)

// A process is one command. It is ended, with all that it started, when it
// makes no progress for too long.
type process struct {
	*command.Process
	s        *shellSession
	op, name string
}

func (s *shellSession) command(op, name, template string) *process {
	p := &process{command.Shell(s.t.expand(template, name)), s, op, name}
	p.Limit = s.t.timeout
	p.Cmd.WaitDelay = 5 * time.Second
	return p
}

func (p *process) start(ctx context.Context) error {
	if err := p.Start(ctx); err != nil {
		return p.s.fail(p.op, p.name, Broken, errors.Unwrap(err))
	}
	p.Watch()
	return nil
}

// wait returns how the command ended. Only exit status 0 is success.
func (p *process) wait() error {
	err := p.Wait()
	failed, _ := errors.AsType[*command.Error](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, command.ErrIdle):
		return p.s.fail(p.op, p.name, Unreachable, fmt.Errorf("the command made no progress for %s and was ended", p.Limit))
	case failed.Ended && isContext(err):
		return p.s.fail(p.op, p.name, Broken, failed.Err)
	case failed.Ended:
		return p.s.fail(p.op, p.name, Unreachable, failed.Err)
	}
	return p.s.fail(p.op, p.name, Broken, fmt.Errorf("command %w", err))
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
