package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"google.golang.org/genai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

var (
	errNoEnd   = errors.New("the stream closed without a finish reason")
	errCut     = errors.New("the stream closed in the middle of the answer")
	errStopped = errors.New("the model stopped without an answer that can be used")
)

// fail tells what a failed call means.
func (m *Model) fail(call *wire.Call, a *assembly, err error) error {
	f := wire.Fault{Model: m.info.ID, Err: err, Content: len(a.parts) > 0, Secret: m.cfg.APIKey}
	said, spoke := errors.AsType[genai.APIError](err)
	if spoke {
		f.Problem = wire.Problem{Type: said.Status, Message: said.Message, Status: said.Code}
	} else if strings.HasPrefix(call.Header().Get("Content-Type"), "text/event-stream") {
		f.Kind, f.Err = unread(err)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		f.Err = e // without what the library puts before it
	}
	err = call.Fail(f)
	if e, ok := errors.AsType[*model.Error](err); ok {
		if spoke {
			refine(e, said)
		}
		if e.RequestID == "" {
			e.RequestID = a.id
		}
	}
	return err
}

// unread tells what it means that the library, or this package, could not take
// a stream, and says so without the whole chunk. The kind is empty when the
// connection broke.
func unread(err error) (model.Kind, error) {
	text := err.Error()
	syntax, badJSON := errors.AsType[*json.SyntaxError](err)
	wrong, badType := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case errors.Is(err, errUnreadable) || errors.Is(err, errStopped):
		return model.Malformed, err
	case errors.Is(err, errNoEnd):
		return model.Incomplete, err
	case errors.Is(err, errCut) || badJSON && syntax.Error() == "unexpected end of JSON input":
		return model.Incomplete, errCut
	case badJSON:
		return model.Malformed, fmt.Errorf("a chunk of the answer is not JSON: %w", syntax)
	case badType:
		return model.Malformed, fmt.Errorf("%w: %w", errUnreadable, wrong)
	case strings.HasPrefix(text, "mapToStruct: "):
		return model.Malformed, fmt.Errorf("%w: %w", errUnreadable, errors.Unwrap(err))
	case strings.Contains(text, "invalid stream chunk"):
		return model.Malformed, fmt.Errorf("a line of the stream is no event: %.100q", text[strings.LastIndex(text, "chunk: ")+len("chunk: "):])
	}
	return "", err
}

// keyReasons are what ErrorInfo says of a key; Google answers with a 400 to one
// that is wrong.
var keyReasons = regexp.MustCompile(`^(API_KEY_.*|SERVICE_DISABLED|CONSUMER_(INVALID|SUSPENDED)|ACCESS_TOKEN_.*|CREDENTIALS_MISSING)$`)

// phrases tell kinds apart that share a status, where the details say nothing.
var phrases = []struct {
	kind model.Kind
	text *regexp.Regexp
}{
	{model.BadKey, regexp.MustCompile(`(?i)api[ _]key (not valid|not found|expired|invalid)|pass a valid api key|reported as leaked`)},
	{model.NoCredit, regexp.MustCompile(`(?i)(enable|requires) billing|credits are depleted|spend(ing)? (cap|limit)|limit: 0\b`)},
	{model.ContextTooLong, regexp.MustCompile(`(?i)payload size exceeds|token count .*exceeds`)},
}

// refine corrects the kind by what only Google says, and takes over how long to
// wait.
func refine(e *model.Error, said genai.APIError) {
	d := read(said.Details)
	switch {
	case keyReasons.MatchString(d.reason):
		e.Kind = model.BadKey
	case d.reason == "BILLING_DISABLED" || d.daily:
		e.Kind = model.NoCredit
	case said.Status == "CANCELLED":
		e.Kind = model.ServerError
	default:
		for _, p := range phrases {
			if p.text.MatchString(said.Message) {
				e.Kind = p.kind
				break
			}
		}
	}
	if e.Kind == model.RateLimited || e.Kind == model.Overloaded {
		e.RetryAfter = max(e.RetryAfter, d.retry)
	}
}

// details are what the API adds to an error.
type details struct {
	reason string
	retry  time.Duration
	daily  bool // a day's quota is used up: a minute's wait is of no use
}

func read(all []map[string]any) (d details) {
	for _, one := range all {
		kind, _ := one["@type"].(string)
		switch kind[strings.LastIndexByte(kind, '.')+1:] {
		case "ErrorInfo":
			d.reason, _ = one["reason"].(string)
		case "RetryInfo":
			text, _ := one["retryDelay"].(string)
			if wait, err := time.ParseDuration(text); err == nil && wait > 0 {
				d.retry = wait
			}
		case "QuotaFailure":
			violations, _ := one["violations"].([]any)
			for _, v := range violations {
				quota, _ := v.(map[string]any)
				id, _ := quota["quotaId"].(string)
				d.daily = d.daily || strings.Contains(id, "PerDay")
			}
		}
	}
	return d
}
