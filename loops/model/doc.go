// Package model says what loop-mcp needs of a language model, and nothing of
// how one is reached: the packages below it each bring one vendor's library.
//
// A [Model] makes one call: it streams, never retries and never decides. What a
// call may cost is set aside before it is made and settled after it by whoever
// calls (package modelcall); this package only tells prices ([Price]) and what a
// failed call means ([Error]).
//
// A conversation is a list of [Message]s. Each keeps the provider's own form of
// a turn beside the neutral one ([Message.Native]): reasoning signatures and
// encrypted reasoning must go back verbatim, or the provider refuses the next
// turn. A message that another wire made is sent in its neutral form, without
// reasoning.
package model
