// Package rebuild makes the catalog of a repository again from its files alone,
// which it may bring from a storage first.
//
// What verify accepts a rebuilt catalog has: both read files by verify.Inspect.
// The old catalog is kept, and no file is changed but an open segment, which is
// sealed. It knows no servers.
package rebuild
