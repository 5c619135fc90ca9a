// Package rpc is what the transports share: the envelope of a JSON-RPC message, ids by value, answers
// with the id as the client wrote it, and the mailbox that loses no notification.
package rpc
