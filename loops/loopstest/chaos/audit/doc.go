// Package audit decides whether a run of the chaos suite was sound. It is
// independent of what it judges: it imports nothing of loop-mcp, reads the store
// with a NATS server and a client of its own, and decodes records as the doc of
// package kvstate describes them.
//
// It works on a copy of the store, so that it changes nothing.
package audit
