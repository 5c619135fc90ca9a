// Package command runs programs for a loop: the process body and the runner
// that the command condition uses too.
//
// # What ends with a run
//
// A program is started from its argument vector, without a shell, in a process
// group (Unix) or a Job Object (Windows) of its own. A run is over when the
// program has exited; whatever it left behind is then killed, so a background
// child neither outlives its iteration nor holds up the run by keeping an
// output pipe open. When the context or the time limit ends first, all of them
// get SIGTERM (Windows: CTRL_BREAK), and SIGKILL after a grace of 1.5 s; with
// the cause [loops.ErrCancelNow] SIGKILL comes at once.
//
// What "all of them" covers:
//
//   - Linux: the process group; every process that inherited the environment
//     mark LOOP_MCP_RUN, even after setsid and a double fork; and every
//     descendant of those, as long as its chain of parents is alive. Only a
//     process that cleared its environment, left the group and lost its parent
//     is out of reach.
//   - macOS and the BSDs: the process group. A child that calls setsid escapes.
//   - Windows: the Job Object, which no child can leave.
//
// PR_SET_CHILD_SUBREAPER would catch a little more on Linux, and is not used: it
// changes the whole host process, and a library has no business there.
//
// The mark also names the loop and the process that worked on it. When that
// process died, the next run for the same loop first ends what it left behind
// (Linux).
//
// # What a program may do
//
// [Policy] says which programs and folders a spec may use, by the door it came
// through, and what of the host's environment a program sees.
package command
