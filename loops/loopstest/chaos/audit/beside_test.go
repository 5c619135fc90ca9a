package audit

import "testing"

// TestABodyBesideItsSuccessorIsFound, and excused only where its worker was
// stopped.
func TestABodyBesideItsSuccessorIsFound(t *testing.T) {
	const second = int64(1e9)
	body := func(start, parent int, from, to int64) []Effect {
		e := Effect{What: Begin, Loop: "a", Iteration: start, Start: start, Parent: parent, At: from * second}
		done := e
		done.What, done.At, done.Exit = End, to*second, 75
		return []Effect{e, done}
	}
	stop := map[int][]life{7: {{from: 101 * second, to: 120 * second}}}
	for _, test := range []struct {
		name    string
		effects [][]Effect
		stops   map[int][]life
		want    int
	}{
		{"one after the other", [][]Effect{body(1, 7, 100, 102), body(2, 8, 118, 119)}, nil, 0},
		{"beside it", [][]Effect{body(1, 7, 100, 121), body(2, 8, 118, 119)}, nil, 1},
		{"beside it, stopped", [][]Effect{body(1, 7, 100, 121), body(2, 8, 118, 119)}, stop, 0},
		{"beside it, another one stopped", [][]Effect{body(1, 9, 100, 121), body(2, 8, 118, 119)}, stop, 1},
		{"after it", [][]Effect{body(2, 8, 118, 119), body(1, 9, 121, 122)}, nil, 1},
		{"after it, stopped", [][]Effect{body(2, 8, 118, 119), body(1, 7, 121, 122)}, stop, 0},
	} {
		a := &auditor{opts: Options{Leases: true}, stops: test.stops}
		l := &loop{id: "a"}
		l.last.Head.Usage.Starts, l.last.Head.Limits.MaxIterations = 2, 2
		for _, effects := range test.effects {
			l.effects = append(l.effects, effects...)
		}
		a.runs(l)
		if len(a.Anomalies) != test.want {
			t.Errorf("%s: %v, want %d anomalies", test.name, a.Anomalies, test.want)
		}
	}
}
