// Package replication receives a slot's stream: a Receiver reads the connection
// and confirms positions, a Delivery hands the messages on, in order, up to a
// wanted end. It bounds what waits in memory, and notices a server that falls
// silent. What the messages say is none of its business.
package replication
