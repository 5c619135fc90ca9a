package loops

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// epochOf2026 is when the loops of the tests of the rules are created.
var epochOf2026 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is the moment n seconds later.
func at(n int) time.Time { return epochOf2026.Add(time.Duration(n) * time.Second) }

var mine = Claim{Owner: "runner-1", Token: "mine"}

// newborn is a loop with a handler and one command as its condition, changed as
// the test wants it.
func newborn(change func(*Spec)) State {
	s := Spec{Name: "rule", Goal: "the goal", Body: BodySpec{Kind: BodyHandler, Name: "worker"},
		Until: &Until{All: []Condition{{Kind: StopCommand, Run: []string{"true"}}}}}
	if change != nil {
		change(&s)
	}
	normal, _ := s.Normalize(Limits{}, Limits{})
	return born("rule-aaaa", Origin{Spec: normal, Source: SourceLibrary, CreatedAt: epochOf2026})
}

func clientBody(s *Spec) { s.Body = BodySpec{Kind: BodyClient} }

// claimed is what a worker that takes s goes on with.
func claimed(t *testing.T, s State, now time.Time) State {
	t.Helper()
	s, ok := claim(s, mine, now)
	if !ok {
		t.Fatalf("%s: nothing to claim", s.Status)
	}
	return stored(s)
}

// stored is s after its commit.
func stored(s State) State { s.New = Delta{}; return s }

// more is an iteration after which the pass goes on, done one that ends it.
func more(output string) outcome {
	return outcome{it: Iteration{OK: true, Output: Text{Text: output, Size: int64(len(output))}}, active: time.Second}
}

func done(output string) outcome { o := more(output); o.it.Done = true; return o }

func failed(text string) outcome {
	return outcome{it: Iteration{Error: text}, active: time.Second}
}

func transient(text string) outcome { o := failed(text); o.transient = true; return o }

// verdicts answers every leaf of the tree alike.
func verdicts(s State, met bool) map[string]Verdict {
	all := map[string]Verdict{}
	for _, l := range s.Origin.Spec.until().leaves() {
		all[l.path] = Verdict{Met: met, Reason: "because", Feedback: "do more", Fingerprint: "same"}
	}
	return all
}

// checkRules fails when s breaks a promise that holds for every state.
func checkRules(t *testing.T, s State) {
	t.Helper()
	never := func(broken bool, rule string) {
		t.Helper()
		if broken {
			t.Errorf("%s: %s", rule, dump(s))
		}
	}
	working := s.Status == Running || s.Status == Cancelling
	asking := s.Status == YourTurn || s.Status == NeedsInput
	timed := asking || s.Status == Waiting
	never(s.Status.Settled() != (s.Stop != nil), "exactly one stop record while settled, none while live")
	never(working != (s.Claim.Token != ""), "a claim while a worker runs or ends it, and only then")
	never(s.Claim.Token == "" && s.Intent != (Intent{}), "an intent that no worker will obey")
	never((s.Status == Cancelling) != (s.Intent.Cancel != nil), "cancelling means that a cancel is asked for")
	never(asking && s.Attention == nil || !asking && s.Status != Paused && s.Attention != nil, "attention exactly while somebody owes something")
	never((s.Status == Paused) != (s.Pause != nil), "a pause record exactly while paused")
	never(timed != !s.WakeAt.IsZero(), "a wake time exactly while time can move the loop")
	never((s.Status == Waiting) != (s.WaitingFor != "") || (s.Status == Waiting) != !s.WaitingUntil.IsZero(), "waiting says for what and until when")
	never(s.Phase != "" && s.Status != Running || s.Phase == "" && s.Status == Running, "a phase exactly while running")
	never(s.Claim.Token == "" && len(s.Reserved) > 0, "what was set aside is settled or counts as spent when nobody makes the call")
	never(s.Held && (!s.Open || s.Status != Waiting && s.Status != Queued && s.Status != Paused), "a start is held only while the loop rests")
	never(s.Status.Settled() && s.Open, "no start is under way in a settled loop")
	never(s.Waits > 0 && s.Status.Settled(), "a settled loop waits for no provider")
	checkWayOn(t, s)
	checkRows(t, s)
	never(s.Owed != nil && s.Open, "a judgement and an open start at once")
	never(s.Ledger.Iterations != s.Iteration, "the ledger counts the iterations")
	never(s.Ledger.Starts < s.Iteration, "every iteration has had a start")
	if again := roundTrip(t, s); !cmp.Equal(s, again, cmpopts.EquateEmpty()) {
		t.Errorf("JSON loses something (-want +got):\n%s", cmp.Diff(s, again, cmpopts.EquateEmpty()))
	}
	head, err := json.Marshal(s.Head())
	never(err != nil || len(head) > 4<<10, "a head of at most 4 KiB")
}

// checkWayOn fails when nothing can move a live loop.
func checkWayOn(t *testing.T, s State) {
	t.Helper()
	when := s.UpdatedAt
	switch s.Status {
	case YourTurn, NeedsInput, Waiting: // time, unless a request comes first
		when = s.WakeAt
	case Queued, Running, Cancelling: // a worker, also after a crash of the one that has it
	default:
		return
	}
	if next, ok := claim(s, Claim{Owner: "next", Token: "next"}, when); !ok {
		t.Errorf("nothing for a worker to do at %s: %s", when, dump(s))
	} else if next.Claim.Token == "next" && next.Status != Running {
		t.Errorf("a worker that took it keeps a loop that is %s: %s", next.Status, dump(s))
	}
}

// checkRows fails when the rows of the usage view are not what the ledger has.
func checkRows(t *testing.T, s State) {
	t.Helper()
	var sum Usage
	for _, m := range s.ByModel {
		sum = sum.Plus(Usage{InputTokens: m.InputTokens, OutputTokens: m.OutputTokens, CostUSD: m.CostUSD})
	}
	if sum.InputTokens != s.Ledger.InputTokens || sum.OutputTokens != s.Ledger.OutputTokens || sum.CostUSD != s.Ledger.CostUSD {
		t.Errorf("the rows come to %+v, the ledger has %+v: %s", sum, s.Ledger.Usage, dump(s))
	}
}

func dump(s State) string {
	data, _ := json.MarshalIndent(s, "", " ")
	return strings.TrimSpace(clip(string(data), 3000))
}

// roundTrip is what a store gives back for s.
func roundTrip(t *testing.T, s State) State {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	var again State
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatalf("decode: %v", err)
	}
	again.Origin, again.Rev, again.New = s.Origin, s.Rev, s.New
	return again
}
