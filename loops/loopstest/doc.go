// Package loopstest helps to test what is built on package loops: [TestStore]
// is the suite that every [loops.Store] passes, [TestLiveLog] that of every
// [loops.LiveLog]; [Memory] is both without a disk, [Script] a body that does what
// it is told, [NewModel] a model that says what it is told and keeps count of what
// it billed.
//
// A Memory is honest: what goes in and comes out is copied through JSON, so a
// test cannot change a stored loop by accident and notices a field that JSON
// loses; a commit on an old revision is refused; several runners share one
// Memory ([Memory.As]) and one of them can die ([Memory.Kill]), so that a
// takeover is tested without a process; [Memory.FailNext] interposes another
// writer or loses an acknowledgement.
//
// All of it works inside and outside a testing/synctest bubble.
package loopstest
