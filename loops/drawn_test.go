package loops

import (
	"testing"
)

// TestALateReportOfAChildChangesNothing: what a loop below has spent never falls,
// and what it has set aside is what it had set aside last.
func TestALateReportOfAChildChangesNothing(t *testing.T) {
	calls := func(n int64) Usage { return Usage{ToolCalls: n} }
	for _, test := range []struct {
		name    string
		reports []Drawn
		want    Drawn
	}{
		{"in order", []Drawn{{Aside: calls(1), At: 3}, {Spent: calls(1), At: 6}}, Drawn{Spent: calls(1), At: 6}},
		{"late", []Drawn{{Spent: calls(1), At: 6}, {Aside: calls(1), At: 3}}, Drawn{Spent: calls(1), At: 6}},
		{"twice", []Drawn{{Spent: calls(1), At: 6}, {Spent: calls(1), At: 6}}, Drawn{Spent: calls(1), At: 6}},
		{"one of two changes", []Drawn{{Aside: calls(3), At: 5}, {Aside: calls(2), At: 5}}, Drawn{Aside: calls(3), At: 5}},
		{"of a call that the child has not stored as spent", []Drawn{{Spent: calls(1), At: 5}, {Aside: calls(1), At: 6}}, Drawn{Spent: calls(1), At: 6}},
		{"and of more calls", []Drawn{{Spent: calls(1), At: 5}, {Aside: calls(3), At: 6}}, Drawn{Spent: calls(1), Aside: calls(2), At: 6}},
		{"spent by one of two changes", []Drawn{{Aside: calls(3), At: 5}, {Spent: calls(1), At: 5}}, Drawn{Spent: calls(1), Aside: calls(2), At: 5}},
		{"of an older program", []Drawn{{Aside: calls(1)}, {Spent: calls(1), At: 2}}, Drawn{Spent: calls(1), At: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s State
			for _, d := range test.reports {
				s = s.drawn("child-aaaa", d)
			}
			if got := s.Children["child-aaaa"]; got != test.want || s.Ledger.Usage != test.want.Spent {
				t.Errorf("%+v, and the ledger has %+v; want %+v", got, s.Ledger.Usage, test.want)
			}
		})
	}
}
