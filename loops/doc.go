// Package loops holds durable agent loops: the words, the spec, the rules, the
// engine that carries them out, and the small interfaces of what it works with.
// It imports the standard library alone, and internal/bugs, which is constants.
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
// # Guarantees
//
//   - What Start, Do or a commit acknowledged is not lost; a committed iteration
//     never runs again.
//   - A start is charged durably before its body runs, so max_iterations n means
//     at most n starts, whatever crashes.
//   - One writer at a time: each commit is a compare-and-swap on State.Rev by
//     the holder of the claim. A worker that lost its claim changes nothing; what
//     it spent is added to the ledger.
//   - A request written while a body runs never costs the body's result.
//   - Success is asked before limits: done on the last allowed pass completes.
//   - A settled or paused loop moves by a request only.
//
// # How a loop moves
//
// Every arrow is a rule in decide.go, onward.go, claim.go, conclude.go, settle.go,
// requests.go or moves.go. Those files are pure functions from a State to a State.
//
//	      Start                        Start (client)
//	        |                                |
//	        v        claim                   v
//	+--> queued ---------------> running  your_turn <---+
//	|      ^                     |  |  ^     |          |
//	|      | process stops       |  |  |     | submit   | next iteration
//	|      +---------------------+  |  |     +--> queued (when a pass ended)
//	|                               |  |
//	|        delay, back-off        v  | time is over (by way of a claim)
//	+--- resume ---------------- waiting
//	|
//	|        question, approval, crash with on_crash: ask
//	+--- answer, approve, deny - needs_input <--- running
//	|
//	+--- resume ---------------- paused <--- queued, running, waiting,
//	|                              |         your_turn, needs_input
//	|                              +---> your_turn, needs_input (as it was)
//	|
//	|    running --- cancel ---> cancelling ---> cancelled
//	|    the other live ones --- cancel -------> cancelled
//	|
//	|    running, needs_input -- goal met -----> completed
//	|    any but paused -------- a cap --------> capped
//	|    running, needs_input -- repetition ---> stalled
//	|    running, needs_input -- no way on ----> blocked
//	|    running, needs_input -- an error -----> failed
//	|
//	+--- steer, resume --------- stalled, blocked, failed    (new epoch)
//	+--- set_limits ------------ capped                      (new epoch)
//	+--- reopen ---------------- completed                   (new epoch)
//	                             cancelled never moves again
//
// What goes to queued becomes your_turn at once where the client owes the next
// iteration, and waiting where a delay is not over: after a submit of the client
// or a person's quick answer, too. A paused loop keeps what it had: the attention, the judgement that
// is owed, the start that was cut off. So does a capped or blocked one with its
// judgement: when it moves again, the work is not repeated.
//
// [Status] lists the statuses, [StopReason] the reasons, and [Allowed] which
// request works in which status.
//
// # How a commit works
//
// One message holds the checkpoint and what it adds to the journal. In steady
// state the commit of iteration n carries the charge of start n+1, so that an
// iteration costs one commit. Conditions that cost nothing to ask again are
// asked before it; a verdict that cost something is committed before the next
// one is asked.
//
// A worker's commit is a function from State to State, applied to the newest
// state it knows. When [Store.Commit] says [ErrConflict], a request was written
// meanwhile: the state is read again and the function applied again. After any
// other error the outcome is unknown: [Claim].Commit, which numbers the worker's
// commits and survives what others write, tells whether it landed. A store that
// does not take a commit is asked again until the process ends; the result waits.
//
// # Crashes
//
// A claim whose owner is gone is free: [Store.Ready] hands the loop to another
// worker, with the revision of which that is true. A start that was open runs
// again (or a person is asked, on_crash: ask) and has been charged for; memory
// that it saved with Turn.Save is there. A judgement goes on after its last
// stored verdict. A cancel or pause that was asked for is carried out.
//
// A repeated start follows a crash, a [Transient] error, an iteration timeout
// and the end of a process. Any other error is a failed iteration.
//
// A wait for a provider (rate limit) keeps the start open and goes on inside it,
// uncharged ([State].Held). A condition that could not be asked ([Transient],
// [RateLimited], [Permanent] from a [StopCondition]) charges no pass and runs no
// body: the loop waits, then pauses, with the judgement owed.
//
// # Money
//
// A body or a condition makes a paid call in three steps: [Meter].Reserve sets
// aside what the call may cost at most, in one commit, its output cut to what
// the limits leave; then the call; then [Meter].Settle puts what it did cost in
// place of that, in one commit with what the body keeps of the answer. What is
// still set aside when the worker is gone counts as spent: the ledger never
// falls, and spent plus set aside never exceeds a limit. A fifth of the budget
// is for the judge alone. Amounts are whole micro-dollars; rates round up.
//
// A loop that was started below the body of another ([Options].Parent) hands its
// totals up: what it sets aside is set aside there before its call is made, what
// it spends is part of the sum there. Totals are compared with those that were
// handed up before, so a report that comes twice changes nothing. When a loop
// settles, what stands below it is cancelled. What all loops spend on one day,
// in UTC, is one record of the store ([Options].DailyCost); a commit of the loop
// comes before its change, so that a crash between the two errs upwards.
//
// What a body or a condition reports after the fact ([Result].Usage,
// [Verdict].Usage) is added when it is committed and can exceed a limit by one
// iteration.
//
// # Forks
//
// A fork is a new loop that begins where another one was after one of its
// iterations. It has the spec of the original with what the request replaces,
// checked as a start is: ceilings, allowed programs, models, folders and protected
// files are those of now. From the journal it gets output, best output, memory,
// verdict and feedback as they were; the conversation of an agent is part of its
// memory. All else begins anew: limits, ledger, iterations, passes, epoch, events.
// Files are as they are now; nobody can tell what they were.
//
// Nothing is copied that the original keeps beside its records. Origin.Pins names
// the loops whose blobs a fork may refer to: the original, and what that one pins.
// A store reads a blob there when the loop has none of that name, and keeps the
// blobs of a loop that is gone as long as one is there that pins it. So the first
// record of a fork is its pin, and no crash can come between the two; when the last
// fork is gone, what it kept alive goes with it.
//
// The original is only read. A fork of a loop whose body runs has what is
// committed; of a settled one, what it ended with. A damaged loop has nothing that
// can be trusted, and is not forked.
//
// # Concurrency
//
// Engine.mu guards the table of running loops. Each claim is a run with two
// locks: run.writing is held for a whole commit, run.mu guards the state that
// the worker knows and the live text and is never held while calling out. Order:
// run.writing before run.mu; Engine.mu is held with no other.
//
// [Engine.Run] waits for its workers. The one goroutine that can outlive it is a
// body that ignores the end of its context: it is left behind after five
// seconds, and what it saves or emits later is dropped.
//
// # Parts
//
// A [Body] does the work, a [StopCondition] judges it, a [Store] keeps it.
// [Parts] is the menu of a process: a plain value, no registry.
package loops
