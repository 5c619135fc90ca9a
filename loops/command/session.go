package command

import (
	"encoding/json"
	"regexp"
	"slices"

	"example.com/loop-mcp/loops"
)

// sessions is what the body keeps in the memory about an agent's sessions.
type sessions struct {
	Current string         `json:"session"`  // the one that the next start continues
	Totals  []sessionTotal `json:"sessions"` // the latest last
}

// sessionTotal is what a session had used by the end of its last run.
type sessionTotal struct {
	ID     string    `json:"id"`
	Input  int64     `json:"input_tokens"`
	Output int64     `json:"output_tokens"`
	Cost   loops.USD `json:"cost_usd,omitempty"`
}

const maxSessions = 8 // whose totals are remembered

// sessionID is what an id has to look like to become an argument: never an
// option, a path or a word such as "latest" that means some other session.
var sessionID = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]*\z`)

func isSessionID(id string) bool { return len(id) >= 8 && len(id) <= 128 && sessionID.MatchString(id) }

// sessionsIn reads the sessions of a memory, and what else is in it.
func sessionsIn(memory json.RawMessage) (sessions, map[string]json.RawMessage) {
	var s sessions
	fields := make(map[string]json.RawMessage)
	if json.Unmarshal(memory, &fields) != nil || fields == nil {
		return s, make(map[string]json.RawMessage)
	}
	if json.Unmarshal(fields["session"], &s.Current) != nil || !isSessionID(s.Current) {
		s.Current = ""
	}
	if json.Unmarshal(fields["sessions"], &s.Totals) != nil {
		s.Totals = nil
	}
	return s, fields
}

// into writes the sessions into a memory.
func (s sessions) into(fields map[string]json.RawMessage) json.RawMessage {
	delete(fields, "session")
	if s.Current != "" {
		fields["session"], _ = json.Marshal(s.Current) // texts and numbers always have a JSON form
	}
	delete(fields, "sessions")
	if len(s.Totals) > 0 {
		fields["sessions"], _ = json.Marshal(s.Totals)
	}
	memory, _ := json.Marshal(fields)
	return memory
}

// resumed returns the session that a start with that memory continues, and the
// arguments that say so; both empty when it begins a new one.
func resumed(resume []string, memory json.RawMessage) (id string, args []string) {
	if len(resume) == 0 {
		return "", nil
	}
	s, _ := sessionsIn(memory)
	if s.Current == "" {
		return "", nil
	}
	return s.Current, append(slices.Clone(resume), s.Current)
}

// account makes Usage that of this run alone and keeps the session in the
// memory. resumed is the session that the run continued, if any.
func (r *report) account(memory json.RawMessage, resumed string) {
	if !isSessionID(r.session) {
		r.session = ""
	}
	if r.session != resumed && r.fault != faultOther && r.Usage == (loops.Usage{}) {
		return // a session in which nobody answered: Gemini CLI does not even keep it
	}
	s, fields := sessionsIn(memory)
	if r.session == "" {
		if resumed != "" && s.Current == resumed { // nobody says that it is still there
			s.Current = ""
			r.Memory = s.into(fields)
		}
		return
	}
	s.Current = r.session
	if r.total {
		s.charge(r, resumed)
	}
	r.Memory = s.into(fields)
}

// charge subtracts what the session had used before the run. A session that
// was continued under another id took the total of the old one along.
func (s *sessions) charge(r *report, resumed string) {
	now := sessionTotal{ID: r.session, Input: r.Usage.InputTokens, Output: r.Usage.OutputTokens, Cost: r.Usage.CostUSD}
	before, known := s.find(r.session)
	if !known {
		before, known = s.find(resumed)
	}
	if known && now.goesOn(before, r.least) {
		r.Usage.InputTokens -= before.Input
		r.Usage.OutputTokens -= before.Output
		r.Usage.CostUSD -= before.Cost
		r.Usage.TotalTokens = r.Usage.InputTokens + r.Usage.OutputTokens
	}
	s.Totals = slices.DeleteFunc(s.Totals, func(t sessionTotal) bool { return t.ID == now.ID })
	s.Totals = append(s.Totals, now)
	s.Totals = s.Totals[max(0, len(s.Totals)-maxSessions):]
}

func (s sessions) find(id string) (sessionTotal, bool) {
	at := slices.IndexFunc(s.Totals, func(t sessionTotal) bool { return t.ID == id })
	if at < 0 {
		return sessionTotal{}, false
	}
	return s.Totals[at], true
}

// goesOn reports whether t can be the total of before and a run that used least
// or more. If not, the count began anew, or never went beyond one run: then all
// of it is the run's.
func (t sessionTotal) goesOn(before sessionTotal, least loops.Usage) bool {
	return t.Input >= before.Input+least.InputTokens && t.Output >= before.Output+least.OutputTokens && t.Cost >= before.Cost
}
