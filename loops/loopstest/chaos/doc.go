// Package chaos is the suite that tries to break loop-mcp from outside: real
// processes, real servers, kills, stops, cut networks, cut power.
//
// It is a module of its own, so that whoever uses loop-mcp never downloads what
// only these tests need.
package chaos
