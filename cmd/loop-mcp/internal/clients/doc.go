// Package clients puts loop-mcp into the configuration of MCP clients, and
// takes it out again.
//
// A [Client] is a row of a table: which file it reads on which system, in which
// format, under which key, and which command of its own adds a server. A
// [Machine] is where that happens: system, environment, programs. [Machine.Plan]
// looks and says what would change, [Machine.Apply] does it.
//
// The client's own command is preferred: it knows its file and its locks. The
// file is edited where there is none, where it is not on PATH, where it can't
// take something out again, where it would drop comments or settings, and where
// Windows would garble its arguments. Either way a copy is kept beside the file,
// what is there afterwards is read again, and everything but our entry stays as
// it is (packages jsonedit and tomledit). An entry with our name that runs
// another program is somebody else's: it is shown and kept, unless the caller
// insists.
package clients
