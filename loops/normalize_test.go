package loops

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNormalizeFillsIn(t *testing.T) {
	got, warnings := Spec{Goal: "g"}.Normalize(Limits{}, Limits{})
	want := Spec{Name: "loop", Goal: "g", Body: BodySpec{Kind: "client"}, Limits: DefaultLimits(), Result: "last", Stall: &Stall{Passes: 3},
		Retry: Retry{MaxAttempts: 3, Initial: Duration(time.Second), Max: Duration(time.Minute), OnCrash: "rerun"}}
	if diff := cmp.Diff(want, got); diff != "" || warnings != nil {
		t.Errorf("warnings %q, spec (-want +got):\n%s", warnings, diff)
	}
	again, _ := got.Normalize(Limits{}, Limits{})
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("a second time changes it:\n%s", diff)
	}
}

func TestNormalizeKeepsWhatIsGiven(t *testing.T) {
	s, err := DecodeSpec([]byte(wholeSpec))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(s)
	got, warnings := s.Normalize(Limits{MaxPasses: 7}, Limits{})
	s.Until.All[0].Cwd = "." // the body's
	if diff := cmp.Diff(s, got); diff != "" || warnings != nil {
		t.Errorf("warnings %q, spec (-want +got):\n%s", warnings, diff)
	}
	s.Until.All[0].Cwd = ""
	if after, _ := json.Marshal(s); string(after) != string(before) {
		t.Errorf("the spec itself changed to %s", after)
	}
}

func TestNormalizeByKind(t *testing.T) {
	for kind, passes := range map[string]Count{"client": 3, "agent": 3, "command": 0, "handler": 0} {
		got, _ := Spec{Body: BodySpec{Kind: kind}}.Normalize(Limits{}, Limits{})
		if got.Stall.Passes != passes {
			t.Errorf("%s: stall.passes is %d, want %d", kind, got.Stall.Passes, passes)
		}
		if usage := map[bool]string{true: "none"}[kind == "command"]; got.Body.Usage != usage {
			t.Errorf("%s: usage is %q, want %q", kind, got.Body.Usage, usage)
		}
	}
	members := []Condition{{Kind: "command"}, {Kind: "claim"}, {Not: &Condition{Kind: "command", Cwd: "x"}}, {Any: []Condition{{Kind: "command", Timeout: 5}}}}
	got, _ := Spec{Body: BodySpec{Kind: "command", Cwd: "sub"}, Until: &Until{All: members}}.Normalize(Limits{}, Limits{})
	want := []Condition{{Kind: "command", Cwd: "sub", Timeout: defaultConditionTimeout}, {Kind: "claim"},
		{Not: &Condition{Kind: "command", Cwd: "x", Timeout: defaultConditionTimeout}}, {Any: []Condition{{Kind: "command", Cwd: "sub", Timeout: 5}}}}
	if diff := cmp.Diff(want, got.Until.All); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if members[0].Timeout != 0 || members[2].Not.Timeout != 0 || members[3].Any[0].Cwd != "" {
		t.Errorf("the caller's conditions changed: %+v", members)
	}
}

func TestNormalizeRetry(t *testing.T) {
	second, minute := Duration(time.Second), Duration(time.Minute)
	for in, want := range map[[2]Duration][2]Duration{
		{}:                     {second, minute},
		{2 * minute, 0}:        {2 * minute, 2 * minute},
		{0, second / 2}:        {second / 2, second / 2},
		{second, second}:       {second, second},
		{5 * second, 0}:        {5 * second, minute},
		{2 * second, 9 * 6e10}: {2 * second, 9 * 6e10},
	} {
		got := Retry{Initial: in[0], Max: in[1]}.normalized()
		if [2]Duration{got.Initial, got.Max} != want {
			t.Errorf("%v becomes %v, want %v", in, got, want)
		}
	}
}

func TestNormalizeLimits(t *testing.T) {
	hour := Duration(time.Hour)
	with := func(change Limits) Limits { return DefaultLimits().Merge(change) }
	for name, c := range map[string]struct {
		given, defaults, ceilings, want Limits
		warnings                        []string
	}{
		"nothing":             {want: DefaultLimits()},
		"operator's defaults": {defaults: Limits{MaxPasses: 4}, want: with(Limits{MaxPasses: 4})},
		"only passes":         {given: Limits{MaxPasses: 5}, want: with(Limits{MaxPasses: 5, MaxIterations: 10_000})},
		"only iterations":     {given: Limits{MaxIterations: 5}, ceilings: Limits{MaxPasses: 77}, want: with(Limits{MaxPasses: 77, MaxIterations: 5})},
		"both":                {given: Limits{MaxIterations: 5, MaxPasses: 6}, want: with(Limits{MaxPasses: 6, MaxIterations: 5})},
		"clamped": {given: Limits{MaxCostUSD: 50 * Dollar, MaxDuration: 48 * hour}, ceilings: Limits{MaxCostUSD: 20 * Dollar, MaxDuration: 24 * hour},
			want: with(Limits{MaxCostUSD: 20 * Dollar}), warnings: []string{
				"limits.max_duration: 48h0m0s is above this operator's ceiling, clamped to 24h0m0s",
				"limits.max_cost_usd: 50 is above this operator's ceiling, clamped to 20"}},
		"at the ceiling":         {given: Limits{MaxCostUSD: 20 * Dollar}, ceilings: Limits{MaxCostUSD: 20 * Dollar}, want: with(Limits{MaxCostUSD: 20 * Dollar})},
		"default above, silent":  {ceilings: Limits{MaxCostUSD: Dollar}, want: with(Limits{MaxCostUSD: Dollar})},
		"defaults' own ceilings": {given: Limits{MaxFailures: 5000}, want: with(Limits{MaxFailures: 1000}), warnings: []string{"limits.max_failures: 5000 is above this operator's ceiling, clamped to 1000"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, warnings := c.given.normalized(c.defaults, c.ceilings)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
