// Package remote lets a handler, a body in code, run in another process, in any
// language, over NATS. [Caller] is the side of the engine, [Serve] the side of
// the handler. docs/handlers.md tells the wire to those who write handlers
// without this package; docs/handler.schema.json has its JSON.
//
// # One start
//
// A start has a key, the loop's id and the number of the start. The caller
// publishes an [Offer] on loop.handler.offer.NAME, to which the servers of that
// name subscribe as one queue group, so that one of them gets it. From then on
// the handler speaks and the caller answers: each [Message] of the handler is a
// request to the reply subject of the offer, each [Answer] of the caller its
// reply. The first message, accept, is answered with the [Call]; heartbeat, emit,
// save and part follow as often as need be; one result ends the start.
//
// Two servers can get an offer when it is sent again because an accept was lost.
// The caller gives the call to the first one that asks and to no other, and to
// that one as often as it asks (its messages carry the random word of its accept
// as "by"). So a start never runs twice because a message was lost. What has an
// effect, which is accept, save, part and result, is sent again until it is
// answered and counts once; a result that has counted is answered so for a minute
// after its start is over. Everything else is dropped when it is late: what comes
// from another start, from another server, or after the result.
//
// # Who is alive
//
// The handler sends a heartbeat every 3 s, whatever its body does. A caller that
// has heard nothing for 15 s, or knows that the server's process is gone
// ([CallerOptions].Alive), gives the start up: [loops.CutOff]. It stays charged,
// and runs again or asks, as after a crash of the worker. A handler whose
// heartbeats nobody has answered for 10 s ends its body, so that it is gone before
// the caller gives up, whichever of them is cut off from the store: a start and
// its repetition do not overlap, unless the process was stopped meanwhile. A slow
// body is nobody's fault until the loop's iteration_timeout.
//
// When the caller's process dies, its loop is taken by another one. That one
// first has every server of the name ask the callers of its starts of this loop
// whether they still want them ([loops.Ender]); who is not answered ends.
//
// The server of the store may change in the middle of all that: subscriptions
// come back with the connection, and what was lost is sent again.
//
// # Nobody there
//
// An offer that nobody takes charges nothing: the body returns [loops.Unserved]
// and the loop is queued. A process claims a loop only when a server of the name
// with room answers on loop.handler.ping.NAME; else the loop stays queued and
// says which handler is missing and how to serve it. Starting a loop for such a
// handler is no error, because handlers are deployed on their own; it warns.
//
// # Sizes
//
// A message stays below the limit of the server (1 MiB unless configured; the
// embedded one takes 8). A text of the call that does not fit is left out, its
// length is in Call.Large, and the handler asks for it in pieces (fetch). A result
// or memory that does not fit is sent in pieces before it (part). Nothing is cut:
// what exceeds [loops.MaxOutputSize] or [loops.MaxMemorySize] fails by name.
//
// # What a handler can't do
//
// Its words move nothing but its own start: the fields of a result and no others
// are read, strictly; a message that is wrong fails the start with a sentence that
// names the handler and the field. What it spends is known when it reports it, so
// that limits in tokens and money hold per iteration. [loops.Turn] Meter, Keep and
// Fetch are not there for a handler elsewhere and say so.
//
// # Versions
//
// Every message carries v, the number of this wire: [Version]. A server that is
// offered another one declines, and says why.
package remote
