// Package verify compares the files of a repository with its catalog: Run reads
// them, here and on the storages; FindDamage and Uncatalogued look at what is
// there without reading it; Inspect reads one file by what it says of itself.
//
// It changes no file. It writes the result of Run into the catalog, and nothing
// else. It knows no servers.
package verify
