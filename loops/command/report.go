package command

import (
	"encoding/json"
	"errors"
	"time"

	"example.com/loop-mcp/loops"
)

// report is what a program printed about its run.
type report struct {
	loops.Result
	err error // why there is no output, or what in the report is wrong

	// Of an agent's command line alone:

	session string      // its id; empty: not told, or not there any more
	total   bool        // Usage counts from the start of the session on
	least   loops.Usage // what this run alone used, as far as is told
	fault   fault
	until   time.Time // when its provider takes requests again; zero: not told
}

// fault says whose a failure is.
type fault int

const (
	faultOther   fault = iota
	faultPassing       // the provider is busy, limits the rate or can't be reached
	faultDenied        // the provider does not know the key, or wants to be paid
)

// faultOf tells it from the HTTP status of a provider's answer.
func faultOf(status int) fault {
	switch {
	case status == 408 || status == 429 || status >= 500 && status < 600:
		return faultPassing
	case status == 401 || status == 402 || status == 403:
		return faultDenied
	}
	return faultOther
}

// longestWait bounds what a command line says about when to come again.
const longestWait = 31 * 24 * time.Hour

// mark tells the engine how to take the failure err of a run.
func (r report) mark(err error) error {
	if r.fault == faultOther {
		return err
	}
	err = loops.Provider(err)
	if r.fault == faultDenied {
		return loops.Permanent(err)
	}
	if wait := time.Until(r.until); wait > 0 && wait < longestWait {
		return loops.RateLimited(err, wait)
	}
	return loops.Transient(err, 0)
}

// read takes apart what a program printed.
func read(usage, stdout string) report {
	switch usage {
	case loops.UsageClaudeJSON:
		return readClaude(stdout)
	case loops.UsageCodexJSON:
		return readCodex(stdout)
	case loops.UsageGeminiJSON:
		return readGemini(stdout)
	case loops.UsageOpencodeJSON:
		return readOpencode(stdout)
	}
	fields, ok := resultObject(stdout)
	if !ok {
		return report{Result: loops.Result{Output: stdout, Done: true}}
	}
	result, err := readObject(stdout, fields)
	return report{Result: result, err: err}
}

// failed leaves of a report what holds whatever became of the run: what was
// used was used.
func (r *report) failed(err error) {
	r.Result, r.err = loops.Result{Usage: r.Usage}, err
}

// reported is a failure in the program's own words.
func (r *report) reported(text string) { r.failed(&ReportedError{Text: text}) }

// eventsOf calls f for each event of a report that is an E.
func eventsOf[E any](stdout string, f func(E)) {
	events(stdout, func(raw json.RawMessage) {
		var e E
		if json.Unmarshal(raw, &e) == nil {
			f(e)
		}
	})
}

// ended makes the end of a run without a failure in its report a result.
func (r *report) ended(wrong error, answered bool, missing string) {
	switch {
	case wrong != nil:
		r.Usage = loops.Usage{ToolCalls: r.Usage.ToolCalls}
		r.failed(wrong)
	case !answered:
		r.failed(errors.New(missing))
	default:
		r.Done = true
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
