// Package chaos is the suite that tries to break loop-mcp from outside: real
// processes, real servers, kills, stops, cut networks, cut power.
//
// It is a module of its own, so that whoever uses loop-mcp never downloads what
// only these tests need.
//
// # Who does what
//
// The driver ([Run], cmd/chaos) builds the real program and cmd/body, starts
// several of it on one data folder and talks to them as their clients do: over
// MCP and on the command line. Users create loops of many kinds and meddle with
// them: they steer, pause, resume, cancel, raise limits, approve, submit. Meanwhile
// faults hit the processes: SIGKILL of the host, of others, of all at once;
// SIGSTOP; orderly ends. What was killed is started again. In the end everything
// may finish, and the auditor is asked.
//
// On a cluster ([Options.Cluster]) the store is three NATS servers, each a process,
// and the users' servers have workers beside them. Nodes are killed one at a time,
// the next one when the one before has caught up; servers and workers are killed;
// a worker is stopped, or cut off from the nodes, for longer than its lease. Then a
// body that runs beside its successor is an anomaly, unless its worker was
// stopped; and in the end each node must have the same messages.
//
// Three files tell what happened, each written by somebody else:
//
//   - effects.jsonl: what bodies did. Each line is one write with O_APPEND, before
//     and after the effect, by the body itself ([audit.Effect]).
//   - history.jsonl: what clients were told, with the time of question and answer
//     ([audit.Told]), and which process was killed when.
//   - the store.
//
// The auditor (package audit) imports nothing of loop-mcp. It reads the messages
// of the store as package kvstate documents them and holds all three together:
// iterations 1, 2, 3 … without a gap, none committed twice, each from a run of the
// body that came to its end; a start runs at most once and was charged; never more
// of them than the limit; a start that was repeated was cut off by something that
// the driver did; nothing that was acknowledged is missing; one end, and nothing
// after it.
//
// # Seeds
//
// All that is random comes from one seed, which is printed. Processes that race
// do not repeat themselves exactly; the same seed gives the same loops, the same
// faults and the same order of them. A run that fails keeps its folder and prints
// the command that repeats it.
//
// A run also fails when its faults did not hit: at least half of the kills must
// cut off a start, and loops must have made progress.
package chaos
