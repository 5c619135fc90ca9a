// Package loops holds durable agent loops: the words, the spec, the rules, the
// engine that carries them out, and the small interfaces of what it works with.
// It imports the standard library alone.
//
// # The words
//
// A loop is the durable object: a spec that never changes, a state, a ledger
// and a journal. An iteration is one turn of its body and the unit of
// durability; committed ones are numbered without a gap. A start is one charge
// of the body: each iteration begins with one, and so does each retry and each
// run that a crash cut off; max_iterations bounds starts. A pass is the
// iterations up to done, a claim of the body that its attempt is finished and
// never a proof. Then the stop conditions are asked: from evidence each gives a
// verdict, met or not, with a reason and feedback for the next pass. A limit is
// a number that the engine enforces and nothing moves but a request. The ledger
// is what was spent, and never falls. A checkpoint is the state after a commit;
// a loop resumes from its last one. The epoch goes up when a settled loop is
// moved again.
//
// # How a loop moves
//
//	Start ──► queued ◄──────────────────────────── resume, reopen, set_limits ──┐
//	            │ claimed, start charged                                        │
//	            ▼                                                               │
//	         running ──► waiting      delay, back-off            ──┐            │
//	      body, then     your_turn    the client owes work       ──┤            │
//	      conditions     needs_input  a person owes an answer    ──┤► running   │
//	            │        paused       never moves by itself      ──┘            │
//	            │                                                               │
//	            ├──► completed   a stop condition holds                       ──┤
//	            ├──► capped      a limit holds; the latest output is kept     ──┤
//	            ├──► stalled     passes without progress                      ──┤
//	            ├──► blocked     nobody answers, a protected file changed     ──┤
//	            ├──► failed      the body can't go on                         ──┘
//	            └──► cancelled   by way of cancelling while a body runs; final
//
// Success is asked before limits: a goal that is met on the last allowed pass
// is completed. [Status] lists the statuses, [StopReason] the reasons, and
// [Allowed] which request works in which status.
//
// # How it holds
//
// What happens after a start is decided by pure functions of the checkpoint and
// of what the start came to, without clock, I/O or goroutine. [Engine] moves the
// data: it claims a loop, charges the start durably before the body runs, asks
// the conditions and commits. A commit is a compare-and-swap in the [Store];
// everything that anybody sees is a projection of what was committed. A body may
// run again until its iteration is committed, a committed iteration never does.
//
// A [Body] does the work, a [StopCondition] judges it, a [Store] keeps it.
// [Parts] is the menu of a process: a plain value, no registry.
package loops
