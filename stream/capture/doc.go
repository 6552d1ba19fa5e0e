// Package capture holds what is installed on the source: schema scribe with its
// event triggers, which write what commands do into the WAL as signed messages,
// and the publications.
//
// It installs and removes them, says what somebody did to them since, and puts
// that back (Keeper). Its own commands are never captured, and wait for no lock
// longer than a moment. It knows what a repository's catalog records of the
// capture, and nothing of what becomes of the messages.
package capture
