// Package gemini calls models over the Gemini API: Google's own, and servers
// that speak the same.
//
// What the package adds to the vendor's library: a stream without a finish
// reason is an error; parts with their thought signatures go back as they came,
// to the model that made them; refusals keep their reason, and errors their
// meaning and how long to wait; nothing is read from the environment, nothing is
// retried or continued, and an answer that the library can't take does not end
// the program.
//
// Gemini 3 and later refuse a conversation in which a tool call lacks its
// signature. A call that another model made has none, so it goes out with the
// text that Google names for the purpose.
//
// Google's cache needs no marks and no key: a prefix that stays the same is
// found by itself.
package gemini
