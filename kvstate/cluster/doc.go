// Package cluster is the way to NATS servers that run already, one or a cluster
// of them, and the leases by which workers on any machine know of each other.
//
// # Leases
//
// In a cluster no lock of an operating system says that a worker lives. So each
// process that works on loops has a lease: a key of bucket LOOPRUN (stream
// KV_LOOPRUN), RUNNER-N, whose value says who it is. It is written anew every two
// seconds. A claim of a loop names the lease and not the process.
//
// The holder counts from the moment at which it sent the last renewal that the
// servers acknowledged. After [ValidFor] it has lost the lease: the context that
// [Member.Lease] gave ends, and with it every body, because another worker may
// take the loop. It begins nothing until it has a lease again, which is a new one
// with the next number; a lost one never comes back.
//
// Others count from the moment at which they saw a renewal. After [TTL] without
// a newer one they bury the lease: they replace the message that they know by one
// that says it is over, by compare-and-swap. Only when the servers took that, the
// holder is dead. So whoever has not heard of a renewal, because it was cut off or
// a replica was behind, is refused and begins to count again; and a holder that
// was stopped for an hour is refused when it renews, and knows that it is dead.
//
// TTL is longer than ValidFor by the time that bodies need to end. ValidFor is
// longer than a fail-over of a group of three servers (4.4 to 8.5 s when one is
// killed) and the interval of renewals together. Each process measures with its
// own monotonic clock, from later or earlier than the other one does, always to
// the safe side; no two clocks are compared. The servers drop a lease after a
// minute without renewal, which decides nothing.
//
// Whatever happens, a commit is a compare-and-swap: leases save work, the loops'
// revisions keep them whole.
//
// What can't be stopped is a body whose worker is stopped itself (SIGSTOP, a
// suspended machine): it may go on while another worker begins again.
package cluster
