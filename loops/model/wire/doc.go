// Package wire is what the adapters of providers share: one exchange over HTTP,
// watched, and the meaning of its failure.
//
// The libraries of vendors retry on their own, drop headers, wait for ever for a
// stream that went silent, and read whatever a server sends. So every request
// goes through the client that [Client] makes, as part of a [Call]: at most one
// request each, no redirects, a bounded body, a limit on silence, and a record
// of status, headers and the head of a refusal. [Call.Fail] makes a
// [*model.Error] of that record and of what the library said.
//
// The same servers are reached over several wires (a router passes on the words
// of all vendors), so one table tells the kinds of errors apart, [KindOf].
package wire
