package loops

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// TestALedgerStaysReadable: a provider that reports a cost beyond all reason made
// a record that could not be read again, and its loop was quarantined.
func TestALedgerStaysReadable(t *testing.T) {
	for _, cost := range []USD{maxUSD, maxUSD + 1, math.MaxInt64} {
		data, err := json.Marshal(Ledger{Usage: Usage{CostUSD: cost}})
		if err != nil {
			t.Fatal(err)
		}
		var back Ledger
		if err := json.Unmarshal(data, &back); err != nil || back.CostUSD != maxUSD {
			t.Errorf("%d: %s is read as %s, %v", cost, data, back.CostUSD, err)
		}
	}
}

// TestADayOfNonsenseIsNotForgiven: the sum of a day did not stop at the largest
// number and went on below zero, which left room for everything.
func TestADayOfNonsenseIsNotForgiven(t *testing.T) {
	d := day{Spent: math.MaxInt64, Aside: map[string]USD{"a": Dollar, "b": math.MaxInt64}}
	if got := d.total(); got < maxUSD {
		t.Errorf("the day's total is %s", got)
	}
}

// TestADetailSteersNoTerminal: what a provider said was shown with its escape
// sequences, in the summary and in the reason of the end.
func TestADetailSteersNoTerminal(t *testing.T) {
	s := State{Status: Running}.settle(Failed, FailProvider, "engine", "a\x1b[2J\x00b\u009b31m\nc\td\xff", time.Now())
	if want := "a[2Jb31m\nc\td\uFFFD"; s.Stop.Detail != want {
		t.Errorf("the detail is %q, want %q", s.Stop.Detail, want)
	}
	if got, want := oneLine("a\x1b[2J\u202eb\n\x00c"), "a [2J b c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
