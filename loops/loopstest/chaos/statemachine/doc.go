// Package statemachine holds the engine against a small model of what a loop may
// do, in every order that a scheduler can think of.
//
// Two or more real engines work on one loop through a wire. Nothing on the wire
// happens by itself: each commit of a worker or a client waits until the scheduler
// (pgregory.net/rapid) delivers it, loses it, delivers it and loses the answer,
// delivers it twice, or keeps it to deliver it much later, when its sender has given
// it up or is dead. Each body waits until the scheduler says how it ends. Between
// any two steps a process can start, stop, crash, or be taken for dead and go on
// all the same. Time is that of a testing/synctest bubble, so a run takes
// milliseconds and is repeated exactly by its seed.
//
// After each write that the store took, the model says what it may have been;
// anything else is a fault. The model (model_test.go) is written from the
// guarantees and not from the rules in package loops.
//
// The second test holds the store itself, package kvstate on an embedded server,
// against a map: commits that roll up, blobs, records, restarts.
package statemachine
