package judge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

const (
	recordVersion = 1
	keptAnswer    = 16 << 10 // bytes of an answer that awaits its repair
)

// record is what a judge stores: what it knows of its last evidence, so that
// nothing is bought twice.
type record struct {
	Version   int    `json:"v"`
	Exact     string `json:"exact"`  // pack.exact
	Stable    string `json:"stable"` // pack.stable
	Iteration int    `json:"iteration"`
	Pass      int    `json:"pass"`

	Votes   []vote         `json:"votes,omitempty"`
	Broken  *broken        `json:"broken,omitempty"`
	Verdict *loops.Verdict `json:"verdict,omitempty"` // what the votes came to, without evidence
	Earlier []loops.Ruling `json:"earlier,omitempty"` // of the evidence before: ids and statuses
}

// vote is one judge's answer under the host's rules.
type vote struct {
	Model    string         `json:"model"`
	Said     string         `json:"said"` // by the judge
	Says     string         `json:"says"` // by the host's rules: done only where the judge said so
	Criteria []loops.Ruling `json:"criteria"`
	Feedback string         `json:"feedback,omitempty"`
}

// broken is an answer that can't be used and has not been repaired.
type broken struct {
	Text     string `json:"text,omitempty"`
	Problem  string `json:"problem"`
	Model    string `json:"model"`
	Declined bool   `json:"declined,omitempty"`
}

// decodeRecord reads what an earlier judgement stored. What this program can't
// read is as good as nothing: the judge is asked again.
func decodeRecord(saved json.RawMessage) record {
	var r record
	if json.Unmarshal(saved, &r) != nil || r.Version != recordVersion {
		return record{}
	}
	return r
}

func (r record) encode() json.RawMessage {
	r.Version = recordVersion
	raw, _ := json.Marshal(r) // plain data: can't fail
	return raw
}

func (r record) voted(id string) bool {
	return slices.ContainsFunc(r.Votes, func(v vote) bool { return v.Model == id })
}

// resume takes up what is stored. A finished verdict on the same evidence is
// given again; votes on it count; of other evidence only the rulings' statuses
// are kept.
//
// In the same judgement, asked again after a crash or a fault, evidence is the
// same when it differs only in times and addresses. A later pass must show the
// very same: a criterion may be about a time. Where a person let the loop go on
// although it was called impossible, they may know more, and it is asked again.
func (h *hearing) resume() (loops.Verdict, bool) {
	r := &h.record
	again := r.Iteration == h.iteration && r.Pass == h.pass
	same := r.Exact == h.pack.exact || again && r.Stable == h.pack.stable
	if same && !again && r.Verdict != nil && r.Verdict.Impossible {
		same = false
	}
	if !same {
		earlier := r.Earlier
		if r.Verdict != nil {
			earlier = nil
			for _, c := range r.Verdict.Criteria {
				earlier = append(earlier, loops.Ruling{ID: c.ID, Status: c.Status})
			}
		}
		h.record = record{Exact: h.pack.exact, Stable: h.pack.stable, Iteration: h.iteration, Pass: h.pass, Earlier: earlier}
		return loops.Verdict{}, false
	}
	if r.Verdict == nil {
		r.Stable, r.Iteration, r.Pass = h.pack.stable, h.iteration, h.pass
		return loops.Verdict{}, false
	}
	v := h.current(*r.Verdict)
	if !again {
		v.Reason = fmt.Sprintf("the evidence is the same as at pass %d: %s", r.Pass, v.Reason)
	}
	return v, true
}

// earlier names the statuses of the last verdict on other evidence.
func (h *hearing) earlier() string {
	var parts []string
	for _, c := range h.record.Earlier {
		if slices.Contains(h.ids(), c.ID) {
			parts = append(parts, c.ID+" "+c.Status)
		}
	}
	return joined(parts)
}

func joined(names []string) string { return strings.Join(names, ", ") }
