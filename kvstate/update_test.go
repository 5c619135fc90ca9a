package kvstate_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// spend counts one more in a record and returns how often change was called.
func spend(s *kvstate.Store, t *testing.T) (calls int, err error) {
	err = s.Update(t.Context(), "daily.2026-11-21", func(old []byte) ([]byte, error) {
		calls++
		if old == nil {
			return []byte("1"), nil
		}
		n, err := strconv.Atoi(string(old))
		return strconv.AppendInt(nil, int64(n+1), 10), err
	})
	return calls, err
}

// spent returns what the record counts.
func spent(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPDATA"))
	return string(must[*jetstream.RawStreamMsg](t)(st.GetLastMsgForSubject(t.Context(), "$KV.LOOPDATA.daily.2026-11-21")).Data)
}

func TestADaysSpendingIsCountedOnceWhenAnswersAreLost(t *testing.T) {
	type fault = func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error)
	tests := []struct {
		name   string
		faults []fault
		others int // updates of another store as soon as the first fault is over
		want   int // calls of change; 0: an error
	}{
		{"the request is lost", []fault{lostBefore}, 0, 1},
		{"the request is lost again and again", []fault{lostBefore, lostBefore, spurious, lostBefore}, 0, 1},
		{"the answer is lost", []fault{lostAfter}, 0, 1},
		{"the answer is lost and others have written since", []fault{lostAfter}, 3, 1},
		{"the answer is lost and as many have written as a record tells", []fault{lostAfter}, 127, 1},
		{"the answer is lost and more have written", []fault{lostAfter}, 128, 0},
		{"the request is lost and others were faster", []fault{lostBefore}, 3, 2},
		{"the server refuses for no reason", []fault{spurious}, 0, 1},
	}
	for _, test := range tests {
		for _, before := range []int{0, 2} {
			t.Run(test.name+"/"+strconv.Itoa(before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					js := &faulty{JetStream: stream(t, host(t, t.TempDir(), embed.Process))}
					store, other := open(t, js, nil), open(t, js.JetStream, nil)
					update := func(s *kvstate.Store, times int) {
						t.Helper()
						for range times {
							must[int](t)(spend(s, t))
						}
					}
					update(store, before)
					first := test.faults[0]
					js.next = append([]fault{func(publish func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error) {
						ack, err := first(publish)
						update(other, test.others)
						return ack, err
					}}, test.faults[1:]...)
					calls, err := spend(store, t)
					if (err == nil) != (test.want > 0) || err == nil && calls != test.want {
						t.Fatalf("change was called %d times, want %d; error %v", calls, test.want, err)
					}
					if err != nil && !strings.Contains(err.Error(), "unknown") {
						t.Errorf("error %v", err)
					}
					if got, want := spent(t, js), strconv.Itoa(before+1+test.others); got != want {
						t.Errorf("the record counts %s, want %s", got, want)
					}
					update(store, 1)
				})
			})
		}
	}
}

func TestDamagedRecordIsNotCountedOn(t *testing.T) {
	tests := map[string]func(m *nats.Msg){
		"no header":               func(m *nats.Msg) { m.Header = nil },
		"a flipped bit":           func(m *nats.Msg) { m.Data[0] ^= 1 },
		"cut off":                 func(m *nats.Msg) { m.Data = m.Data[:1] },
		"a header of another one": func(m *nats.Msg) { m.Subject = "$KV.LOOPDATA.daily.2026-11-21" },
	}
	for name, forge := range tests {
		t.Run(name, func(t *testing.T) {
			store, js := fresh(t, nil)
			for range 12 {
				must[int](t)(spend(store, t))
			}
			must[any](t)(nil, store.Update(t.Context(), "other", func([]byte) ([]byte, error) { return []byte("12"), nil }))
			st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPDATA"))
			from := "daily.2026-11-21"
			if strings.Contains(name, "another") {
				from = "other"
			}
			last := must[*jetstream.RawStreamMsg](t)(st.GetLastMsgForSubject(t.Context(), "$KV.LOOPDATA."+from))
			m := &nats.Msg{Subject: last.Subject, Data: last.Data, Header: nats.Header{"Loop-Record": {last.Header.Get("Loop-Record")}}}
			forge(m)
			must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), m))
			calls, err := spend(store, t)
			if !errors.Is(err, loops.ErrDamaged) || calls != 0 {
				t.Errorf("change was called %d times; error %v, want %v", calls, err, loops.ErrDamaged)
			}
		})
	}
}

func TestRecordIsKeptFromItsLastChangeOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var held []string
		for _, wait := range []time.Duration{0, loops.RecordTTL - time.Hour, loops.RecordTTL - time.Hour, loops.RecordTTL + time.Hour} {
			time.Sleep(wait) // while no server runs, which would take long
			h, err := embed.Start(t.Context(), embed.Options{Dir: dir, Durability: embed.Process})
			if err != nil {
				t.Fatal(err)
			}
			js := stream(t, h)
			store := must[*kvstate.Store](t)(kvstate.Open(t.Context(), js, nil))
			time.Sleep(time.Minute) // the server looks for what is over after its start
			must[int](t)(spend(store, t))
			held = append(held, spent(t, js))
			if err := errors.Join(store.Close(), h.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"1", "2", "3", "1"}, held); diff != "" {
			t.Errorf("the record (-want +got):\n%s", diff)
		}
	})
}

func TestUpdateThatTheServerNeverTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := &faulty{JetStream: stream(t, host(t, t.TempDir(), embed.Process))}
		store := open(t, js, nil)
		must[int](t)(spend(store, t))
		for range 100 {
			js.next = append(js.next, lostBefore)
		}
		began := time.Now()
		if _, err := spend(store, t); !errors.Is(err, errLost) || time.Since(began) > time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		js.next = nil
		must[int](t)(spend(store, t))
		if got := spent(t, js); got != "2" {
			t.Errorf("the record counts %s, want 2", got)
		}
	})
}
