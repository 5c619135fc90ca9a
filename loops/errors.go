package loops

import (
	"errors"
	"fmt"
	"strings"
)

// The sentinels of this package. They are wrapped with the id and what to do.
var (
	// ErrNotFound is returned for an id that no store record has.
	ErrNotFound = errors.New("no such loop")
	// ErrExists is returned by [Store.Create] when the id is taken.
	ErrExists = errors.New("the loop exists already")
	// ErrConflict is returned by [Store.Commit] when the loop changed meanwhile.
	ErrConflict = errors.New("the loop changed meanwhile")
	// ErrInvalid is what every [FieldError] is: the caller must change a field.
	ErrInvalid = errors.New("invalid")
	// ErrRefused is what every [RefusedError] is: the loop's status, a limit or
	// a rule of the operator forbids the request.
	ErrRefused = errors.New("refused")
	// ErrDamaged is returned for a loop whose record does not verify.
	ErrDamaged = errors.New("the loop's record is damaged")
	// ErrNewer is what an [ErrDamaged] also is when a newer version of the program
	// wrote the record: that one can read it.
	ErrNewer = errors.New("a newer version wrote it")
	// ErrUnwritable is returned by a store that takes nothing now: its disk is full
	// or read-only, a limit of its server is reached. What was acknowledged is there
	// and can be read, and the same call succeeds when the cause is mended.
	ErrUnwritable = errors.New("the store can't be written to now")
	// ErrUnanswered is returned by a store that does not answer, or not in time.
	// Whether what was asked of it has happened is not known; the same call succeeds
	// when it answers again.
	ErrUnanswered = errors.New("the store does not answer")
	// ErrClosed is returned by an engine or a store that has been closed.
	ErrClosed = errors.New("the store is closed")
)

// FieldError names a field and what is wrong with it. Several are joined with
// [errors.Join]; [FieldErrors] takes them apart.
type FieldError struct {
	Field   string // "limits.max_passes", "until.all[0].run"; empty: the whole
	Problem string // `must be at least 1, got "3x"`
	Line    int    // of a loop file; 0: unknown
	Column  int
}

// Error returns "field: problem", with the line in front when it is known.
func (e *FieldError) Error() string {
	text := e.Problem
	if e.Field != "" {
		text = e.Field + ": " + e.Problem
	}
	if e.Line > 0 {
		return fmt.Sprintf("line %d: %s", e.Line, text)
	}
	return text
}

// Is reports whether target is [ErrInvalid].
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// FieldErrors returns the field errors in err, in order.
func FieldErrors(err error) []*FieldError {
	switch e := err.(type) {
	case nil:
		return nil
	case *FieldError:
		return []*FieldError{e}
	case interface{ Unwrap() []error }:
		var all []*FieldError
		for _, one := range e.Unwrap() {
			all = append(all, FieldErrors(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		return FieldErrors(e.Unwrap())
	}
	return nil
}

// below prefixes the fields of every FieldError in err; other errors become one.
func below(prefix string, err error) error {
	if err == nil {
		return nil
	}
	found := FieldErrors(err)
	if len(found) == 0 {
		return &FieldError{Field: prefix, Problem: err.Error()}
	}
	var all []error
	for _, e := range found {
		moved := *e
		moved.Field = strings.TrimSuffix(prefix+"."+e.Field, ".")
		all = append(all, &moved)
	}
	return errors.Join(all...)
}

// RefusedError says why a request was not carried out and what would work.
type RefusedError struct {
	Code    string // "cap_not_raised", "no_stop_condition", "wrong_status", …
	Problem string // what is in the way, with the numbers
	Remedy  string // what to do instead
}

// Error returns the code, the problem and the remedy in one line.
func (e *RefusedError) Error() string {
	text := e.Code + ": " + e.Problem
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Is reports whether target is [ErrRefused].
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }
