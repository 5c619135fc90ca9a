// Package rpc is what the transports share: the envelope of a JSON-RPC message, ids by value, answers
// with the id as the client wrote it, the mailbox that loses no notification, and the requests to a
// client that wait for its response.
package rpc
