package loops

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Head is the small part of a State that lists, workers and watchers need. A
// store keeps it beside each record so that it can be read without the texts.
// In JSON it stays below 4 KiB.
type Head struct {
	ID        ID                `json:"id"`
	Name      string            `json:"name"`
	Status    Status            `json:"status"`
	Phase     Phase             `json:"phase,omitempty"`
	Summary   string            `json:"summary"`
	Labels    map[string]string `json:"labels,omitempty"`
	Owner     string            `json:"owner,omitempty"`
	Parent    ID                `json:"parent,omitempty"`
	Pins      []ID              `json:"pins,omitempty"` // see Origin.Pins
	Iteration int               `json:"iteration"`
	Pass      int               `json:"pass"`
	Epoch     uint64            `json:"epoch"`
	Cursor    uint64            `json:"cursor"`
	Ledger    Ledger            `json:"usage"`
	Limits    Limits            `json:"limits"`
	Claim     Claim             `json:"claim,omitzero"`
	Cancel    *CancelWish       `json:"cancel,omitempty"`
	WakeAt    time.Time         `json:"wake_at,omitzero"`
	Tell      string            `json:"tell,omitempty"` // the process that has to tell somebody
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	Rev       uint64            `json:"-"` // set by the Store
}

// maxSummary bounds the one-line summary, in bytes.
const maxSummary = 240

// Head returns the head of s.
func (s *State) Head() Head {
	h := Head{
		ID: s.ID, Name: s.Origin.Spec.Name, Status: s.Status, Phase: s.Phase,
		Summary: clipJSON(s.summary(), 2*maxSummary), Labels: s.Origin.Labels, Owner: s.Origin.Owner, Parent: s.Origin.Parent, Pins: s.Origin.Pins,
		Iteration: s.Iteration, Pass: s.Pass, Epoch: s.Epoch, Cursor: s.Cursor,
		Ledger: s.Ledger, Limits: s.Limits, Claim: s.Claim, Cancel: s.Intent.Cancel,
		WakeAt: s.WakeAt, Tell: s.Tell, CreatedAt: s.Origin.CreatedAt, UpdatedAt: s.UpdatedAt, Rev: s.Rev,
	}
	if h.Cancel != nil {
		h.Cancel = &CancelWish{Reason: h.Cancel.Reason, Detail: clipJSON(clip(h.Cancel.Detail, 200), 2*200), Now: h.Cancel.Now}
	}
	return h
}

// WantsWorker reports from when on a worker should look at the loop, provided
// that its claim is free or held by a dead runner. ok is false when only a
// request can move it.
func (h Head) WantsWorker() (at time.Time, ok bool) {
	switch h.Status {
	case Queued, Running, Cancelling:
		return time.Time{}, true
	case Waiting, YourTurn, NeedsInput:
		return h.WakeAt, !h.WakeAt.IsZero()
	default:
		return time.Time{}, false
	}
}

// Summary is the one line that snapshots, lists and progress messages show:
// id, status, meters against the limits, and the last reason.
func (s State) Summary() string { return s.summary() }

// summary is made for each commit, and prints numbers without a format.
func (s *State) summary() string {
	b := make([]byte, 0, 128)
	b = append(append(b, s.ID...), ' ')
	b = append(b, s.statusText()...)
	b = number(number(b, " · pass ", s.Pass), "/", s.Limits.MaxPasses)
	b = number(number(b, " · iteration ", s.Iteration), "/", s.Limits.MaxIterations)
	if s.Ledger.CostUSD > 0 {
		b = append(b, " · "+s.Ledger.CostUSD.cents()+"/"+s.Limits.MaxCostUSD.cents()...)
	}
	if last := s.lastReason(); last != "" {
		b = append(append(b, " · "...), last...)
	}
	return clip(string(b), maxSummary)
}

// number appends a text and a number.
func number[N ~int | ~int64](b []byte, before string, n N) []byte {
	return strconv.AppendInt(append(b, before...), int64(n), 10)
}

func (s *State) statusText() string {
	switch {
	case s.Stop != nil:
		return fmt.Sprintf("%s (%s)", s.Status, s.Stop.Reason)
	case s.Status == Waiting && s.WaitingFor != "":
		return fmt.Sprintf("%s (%s)", s.Status, s.WaitingFor)
	case s.Status == Paused && s.Pause != nil:
		return fmt.Sprintf("%s (%s)", s.Status, s.Pause.Reason)
	}
	return string(s.Status)
}

func (s *State) lastReason() string {
	switch {
	case s.Stop != nil && s.Stop.Detail != "":
		return oneLine(s.Stop.Detail)
	case s.Status == NeedsInput && s.Attention != nil:
		return s.Attention.Kind + ": " + oneLine(s.Attention.Prompt)
	case s.Verdict != nil && s.Verdict.Reason != "":
		return s.Verdict.Kind + ": " + oneLine(s.Verdict.Reason)
	}
	return oneLine(s.Why)
}

// cents rounds to whole cents for one-line displays.
func (u USD) cents() string { return fmt.Sprintf("$%.2f", u.Dollars()) }

// clipJSON shortens text until it takes at most limit bytes as JSON.
func clipJSON(text string, limit int) string {
	if len(text) <= limit && plain(text) {
		return text
	}
	for len(jsonText(text)) > limit {
		text = clip(text, len(text)*3/4)
	}
	return text
}

// plain reports whether text is as long in JSON: printable ASCII of which nothing
// is escaped, and the dots of a summary.
func plain(text string) bool {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == 0xC2 && strings.HasPrefix(text[i:], "·") {
			i++
			continue
		}
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// oneLine is text without line breaks and what else steers a terminal.
func oneLine(text string) string {
	if lean(text) {
		return text
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}

// lean reports whether text is words of ASCII with one space between two.
func lean(text string) bool {
	space := true
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c > '~' || c == ' ' && space {
			return false
		}
		space = c == ' '
	}
	return !space || text == ""
}
