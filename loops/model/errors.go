package model

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the closed set of ways in which a call fails.
type Kind string

// The kinds of error.
const (
	BadKey         Kind = "bad_key"          // no key, a wrong one, or one without the right
	NoCredit       Kind = "no_credit"        // the account has no money or quota left
	UnknownModel   Kind = "unknown_model"    // no such model, or not for this key
	BadRequest     Kind = "bad_request"      // refused as malformed: another try is refused again
	ContextTooLong Kind = "context_too_long" // the messages do not fit into the model's window
	Refused        Kind = "refused"          // blocked by the provider's policy
	RateLimited    Kind = "rate_limit"       // too many requests or tokens: wait
	Overloaded     Kind = "overloaded"       // the provider is busy: wait
	ServerError    Kind = "server"           // the provider's fault
	Network        Kind = "network"          // not reached, or the connection broke
	Incomplete     Kind = "incomplete"       // the stream ended before the answer did
	Malformed      Kind = "malformed"        // what came back is not what the protocol says
)

// Error is a call that failed.
type Error struct {
	Kind       Kind
	Model      string        // Info.ID
	Status     int           // of HTTP; 0: none came
	RetryAfter time.Duration // what the provider asked for; 0: nothing
	RequestID  string
	// Unbilled reports that the provider can't have charged for the call: it
	// was refused, or never sent. Else the outcome is unknown.
	Unbilled bool
	Err      error
}

// Error says what happened and what to do about it.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s", e.Model, e.meaning())
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) meaning() string {
	text := map[Kind]string{
		BadKey:         "the provider does not accept the API key; check the key and the variable that holds it",
		NoCredit:       "the account has no credit or quota left; add some, or name another model",
		UnknownModel:   "the provider has no such model for this key; check the model's name in the configuration",
		BadRequest:     "the provider refused the request",
		ContextTooLong: "the conversation does not fit into the model's window; use history: fresh, a smaller task or a model with a larger window",
		Refused:        "the provider declined to answer; change the goal or name another model",
		RateLimited:    "the provider asks to wait (rate limit)",
		Overloaded:     "the provider is overloaded",
		ServerError:    "the provider had an error of its own",
		Network:        "the provider was not reached, or the connection broke; check the network and base_url",
		Incomplete:     "the answer was cut off before its end",
		Malformed:      "the provider's answer could not be read",
	}[e.Kind]
	if e.Status != 0 {
		text += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return text
}

// KindOf returns the kind of a model's error; empty for another error.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}
