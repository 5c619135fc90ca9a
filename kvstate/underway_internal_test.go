package kvstate

import (
	"testing"

	"github.com/nats-io/nats.go"
)

func TestHowManyCommitsGoAtOnce(t *testing.T) {
	for _, test := range []struct {
		what            string
		opts            Options
		commits, others int
	}{
		{"one server that does not sync", Options{}, 64, 2},
		{"one server, one replica", Options{Replicas: 1}, 64, 2},
		{"one server that syncs", Options{Group: true}, 2, 2},
		{"several servers", Options{Replicas: 3}, 512, 512},
		{"several servers that sync", Options{Replicas: 3, Group: true}, 512, 512},
	} {
		if commits, others := test.opts.underWay(); commits != test.commits || others != test.others {
			t.Errorf("%s: %d commits and %d other messages at once, want %d and %d", test.what, commits, others, test.commits, test.others)
		}
		s := Store{posts: posts{most: test.commits}, replicated: test.opts.Replicas > 1}
		taken := func() (n int) {
			for range test.commits + 10 {
				s.posts.add(&s, &post{m: &nats.Msg{}, turn: make(chan posted, 1)})
			}
			return test.commits + 10 - len(s.posts.waiting)
		}()
		s.posts.done(&s)
		if taken != test.commits || len(s.posts.waiting) != 9 {
			t.Errorf("%s: %d of %d went at once, and when one was over %d waited, want %d and 9", test.what, taken, test.commits+10, len(s.posts.waiting), test.commits)
		}
	}
}
