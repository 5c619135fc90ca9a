package loops

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	clockRuns = flag.Int("clocks", 20, "how many random lives of a clock are tried")
	clockSeed = flag.Uint64("clock-seed", 0, "of the lives of a clock; 0: a new one, which is printed")
)

// settable is a machine whose clock can be set and which can sleep.
type settable struct {
	wall    time.Time
	ran, up time.Duration
}

func (m *settable) clock(knowsUptime bool) *clock {
	c := &clock{now: func() time.Time { return m.wall }, ran: func() time.Duration { return m.ran }, seen: map[ID]sight{}}
	if knowsUptime {
		c.uptime = func() time.Duration { return m.up }
	}
	return c
}

func (m *settable) pass(d time.Duration)  { m.wall, m.ran, m.up = m.wall.Add(d), m.ran+d, m.up+d }
func (m *settable) sleep(d time.Duration) { m.wall, m.up = m.wall.Add(d), m.up+d }
func (m *settable) set(d time.Duration)   { m.wall = m.wall.Add(d) }

const year = 365 * 24 * time.Hour

// jumps are what is done to clocks.
var jumps = []time.Duration{time.Second, time.Minute, time.Hour, 2 * time.Hour, 24 * time.Hour, year, 56 * year}

// TestMaxDurationIsNotMovedByTheClock: whatever the clock is set to, and however
// often, a loop has as much time as it was given.
func TestMaxDurationIsNotMovedByTheClock(t *testing.T) {
	seed := *clockSeed
	if seed == 0 {
		seed = rand.Uint64()>>1 + 1
	}
	t.Logf("-clock-seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for n := range *clockRuns {
		m := &settable{wall: time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)}
		c := m.clock(true)
		s := clockLoop(m.wall)
		c.stored(&s)
		passed := time.Duration(0)
		for range 40 {
			d := time.Duration(r.Int64N(int64(time.Hour)))
			switch r.IntN(4) {
			case 0:
				m.sleep(d)
				passed += d
			case 1:
				m.set(jumps[r.IntN(len(jumps))])
			case 2:
				m.set(-jumps[r.IntN(len(jumps))])
			default:
				m.pass(d)
				passed += d
			}
			var now time.Time
			if s, now = c.present(s); r.IntN(2) == 0 { // else only looked at
				s.touch(now)
				s.Rev++
				c.stored(&s)
			}
		}
		s, now := c.present(s)
		s.touch(now)
		if off := time.Duration(s.Elapsed) - passed; off > 2*time.Minute || off < -2*time.Minute { // 1 s a jump at most
			t.Errorf("life %d: %s passed, the loop counts %s", n, passed, time.Duration(s.Elapsed))
		}
	}
}

// clockLoop is a loop that was made now.
func clockLoop(now time.Time) State {
	s := State{ID: "clock-aaaa", Status: Queued, Limits: DefaultLimits(), UpdatedAt: now, Rev: 1}
	s.Limits.MaxDuration = Duration(10 * year)
	s.Origin.CreatedAt = now
	s.Origin.Spec.Body.Kind = BodyHandler
	return s
}

// TestADelayIsAsLongAsItWasToBe although the clock was set meanwhile, in this
// process or while none was there.
func TestADelayIsAsLongAsItWasToBe(t *testing.T) {
	for _, jump := range append([]time.Duration{0}, jumps...) {
		for _, sign := range []time.Duration{1, -1} {
			for _, same := range []bool{true, false} {
				if !same && sign*jump > 10*year {
					continue // as if nobody had been there for so long: max_duration is over
				}
				m := &settable{wall: time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC)}
				c := m.clock(true)
				s := clockLoop(m.wall).wait("delay", time.Hour, m.wall)
				c.stored(&s)
				m.pass(20 * time.Minute)
				m.set(sign * jump)
				if !same {
					c = m.clock(true)
				}
				var now time.Time
				s, now = c.present(s)
				_, due := claim(s, Claim{Token: "t"}, now)
				if ahead := sign*jump >= 40*time.Minute && !same; due != ahead {
					t.Errorf("clock set by %s, the same process %t: after 20 of 60 minutes it is due: %t", sign*jump, same, due)
				}
				m.pass(40*time.Minute + jitter)
				if !same && sign < 0 {
					m.pass(20 * time.Minute) // nobody knows that they had passed
				}
				s, now = c.due(s)
				next, due := claim(s, Claim{Token: "t"}, now)
				if !due || next.Status != Running {
					t.Errorf("clock set by %s, the same process %t: after an hour it is due: %t, %s", sign*jump, same, due, next.Status)
				}
				if next.Ledger.ActiveSeconds > 3700 {
					t.Errorf("clock set by %s, the same process %t: an hour of delay counts as %.0f s of work", sign*jump, same, next.Ledger.ActiveSeconds)
				}
			}
		}
	}
}

// TestASleepingMachineIsNotAClockThatWasSet where nothing tells them apart: what
// max_duration counts is then rather too much than too little, and a clock that
// is set back gives nothing.
func TestASleepingMachineIsNotAClockThatWasSet(t *testing.T) {
	for _, test := range []struct {
		do   func(*settable)
		want time.Duration
	}{
		{func(m *settable) { m.sleep(8 * time.Hour) }, 9 * time.Hour},
		{func(m *settable) { m.set(8 * time.Hour) }, 9 * time.Hour},
		{func(m *settable) { m.set(-8 * time.Hour) }, time.Hour},
		{func(m *settable) { m.set(-56 * year) }, time.Hour},
	} {
		m := &settable{wall: time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC)}
		c := m.clock(false)
		s := clockLoop(m.wall)
		c.stored(&s)
		m.pass(time.Hour)
		test.do(m)
		s, now := c.present(s)
		if s.touch(now); time.Duration(s.Elapsed) != test.want {
			t.Errorf("counted are %s, want %s", time.Duration(s.Elapsed), test.want)
		}
	}
}
