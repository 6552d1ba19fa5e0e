package main

import (
	"context"

	"pg_scribe/stream"
)

type markCmd struct {
	connFlags
	outputFlag
	Name string `arg:"" help:"Name of the restore point."`
}

// Run names the present moment in the stream.
func (c *markCmd) Run(ctx context.Context, a *app) error {
	if c.Name == "" {
		return &usageError{"a mark needs a name", "pg_scribe mark 'before the upgrade'"}
	}
	conn, err := a.connect(ctx, c.connFlags)
	if err != nil {
		return err
	}
	if err := stream.Mark(ctx, conn, c.Name); err != nil {
		return err
	}
	if c.json() {
		return writeJSON(a.stdout, markJSON{Name: c.Name, Database: a.hintContext.base})
	}
	a.print("Marked. Once start has stored it: %s", commandLine("pg_scribe", "restore", "-f", "REPOSITORY", "-C", "-d", "NEW_DATABASE", "--target-name", c.Name))
	return nil
}
