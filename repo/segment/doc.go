// Package segment is the text of a repository's files: header and trailer of all of
// them, and of segments the framing of transactions, the grammar of their
// statements and the rows of COPY blocks, each read as a value and written in one
// way only. What is written is read as the same value, what is read is written
// again byte for byte, and what is not in the grammar is an error that names file
// and line. docs/FORMAT.md has all of it.
//
// Nothing here knows a server, or where a file lies.
//
// Start with NewReader to read, with AppendBegin and AppendChange to write.
package segment
