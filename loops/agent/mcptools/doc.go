// Package mcptools gives an agent the tools of other MCP servers.
//
// # One connection per loop and server
//
// [Toolbox.Open] starts the servers that a loop's patterns can match, all at
// once, and lists their tools. Each loop has processes and connections of its
// own: what a server remembers of one loop is nothing to another. A connection
// is made with mcp-go's client, which speaks both eras of the protocol, and is
// never repaired: mcp-go can't recover a lost session, so the recipe is kept,
// the connection thrown away and a new one built.
//
//	no connection ──build──► usable ──a call was given up──► in doubt
//	      ▲  wait 1–30 s        │ ▲                              │
//	      └──── lost ◄──────────┘ └────── answers a listing ─────┤
//	              ▲                                              │
//	              └──────────────── does not ────────────────────┘
//
// # What became of a call
//
// A call ends in one of three ways. The server answered: an outcome, also when
// the tool failed or the server refused the call. The tool can't have run: the
// call is made once more on a new connection, and then an error that wraps
// [agent.ErrNotSent]. Or nobody knows: the server ended, or did not answer in
// time, after the call had gone out; then a plain error, and who called decides
// by [agent.Tool] Repeatable. Over stdio "gone out" means that a byte of the
// request was written, over HTTP that its head was, and that the server did not
// refuse it with a status of 4xx.
//
// # What ends, and when
//
// Processes run in a group of their own under the mark of package command, see
// its doc for what that covers on which system. They are gone within two
// seconds after [Toolbox.Rest] or [Toolbox.Close]; while the loop only waits
// for time they stay for one more minute. When this process is killed they lose
// their standard input, which ends most, and [Toolbox.EndLeftovers] ends the
// others (Linux).
//
// # What a server is trusted with
//
// The operator configures servers; a loop only chooses among them. A server
// sees the environment that package command gives to programs, and
// LOOP_MCP_PARENT, so that a loop-mcp below it keeps its hands off the loop.
// Whatever it says about itself (names, descriptions, hints, results) is data:
// hints can be overruled per tool, sizes are bounded.
package mcptools
