// Package streamhttp serves an mcp-go server over Streamable HTTP, in both protocol eras on one
// address. It owns the transport and nothing else; methods and schemas stay in
// [server.MCPServer.HandleMessage].
//
//	h := streamhttp.New(s, &streamhttp.Options{Tokens: map[string]string{"ci": token}})
//	err := h.Serve(ctx, listener) // or mount h, an http.Handler, and call h.Shutdown at the end
//
// The MCP endpoint is Options.Path, "/mcp" unless set otherwise. [Handler.Handle] puts more routes
// behind the same door.
//
// # Why not mcp-go's own transport
//
// Measured on mcp-go v1.2.1: 3 to 8 % of the progress sent right before an answer is lost; progress of
// concurrent calls of one session arrives at whichever of them reads first; Origin is not checked,
// and no token; a deleted session goes on; its event store is never trimmed.
//
// # Who comes in
//
// Every request passes the door, whatever its route. Host: on a loopback connection only loopback
// names and those of Options.AllowedHosts, so that a page whose name was made to point here stays
// outside; connections from elsewhere need a token, which such a page does not have. Origin: none
// (programs), the server's own, or one of Options.AllowedOrigins. Both are answered with 403. Token:
// when there are any, each request needs one; they are compared as SHA-256 sums in constant time. The
// refusal names the metadata of RFC 9728, which are served without a token. Without tokens, only
// loopback connections and sockets are served.
//
// # One call
//
// Each request is served by a goroutine and a session object of its own. What the handler sends goes
// to the response of that request, in order, all of it, before the answer and never after it: a sender
// that is faster than its client waits. The response is a JSON document; it becomes a stream with the
// first notification, or when it was silent for Options.KeepAlive, if the client takes one. A client
// that takes none gets no notifications.
//
// # Eras
//
// A request is modern (2026-07-28 and later) when its header or its _meta says so. It has no session
// and no event ids: the end of its connection is its cancellation. Header and message are compared
// (-32020); errors have the HTTP status that goes with them. A subscriptions/listen stream is
// registered with the server, filtered and tagged, and ends with its result when the server does.
//
// An older request belongs to the session that initialize made, which belongs to the owner of its
// token; a session that is unknown, of somebody else, deleted, or unused for Options.SessionIdle, is
// 404. The end of a connection changes nothing: the call goes on, and what it has to say is kept for
// a client that comes back with Last-Event-ID, up to Options.MaxEventBytes for all sessions and a
// quarter of that for one. A client that comes back for what is not kept any more is told so (400)
// instead of being given less. Clients of 2025-11-25 get an event without data first, so that they
// can always come back. notifications/cancelled cancels a call of its session; nothing more is
// written for it. What is said outside requests goes to the latest GET stream of the session.
//
// A handler can ask the person at an older client ([server.SessionWithElicitation]); the question goes
// out on the stream of its call, and the answer comes as a POST of the same session.
//
// # Bounds
//
// Header, message, all large messages together, calls, streams and sessions of one owner, kept events,
// and the time for header, body and 64 KiB of an answer. What is too much is refused with 413, 431 or
// 503, never queued. A client that does not read for Options.WriteTimeout is cut off; its modern call
// is cancelled with it.
//
// # Locks
//
// A stream's lock is held while it writes, and then its reply's; close interrupts a write before it
// takes them. sessions.mu comes before clientSession.mu. All others are held for a few lines, never
// across I/O, a wait or another package's code.
package streamhttp
