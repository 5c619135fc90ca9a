package embed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/kvstate/embed"
)

// TestStepDown: the host hands over on request and goes on as a client, and
// nothing that was written is lost. Alone it goes on hosting.
func TestStepDown(t *testing.T) {
	dir := t.TempDir()
	if _, err := embed.StepDown(t.Context(), dir, "1.0.0"); err == nil || !strings.Contains(err.Error(), "no process hosts") {
		t.Errorf("nobody hosts: %v", err)
	}
	one := join(t, embed.Options{Dir: dir})
	put(t, one, "key", "value")
	if _, err := embed.StepDown(t.Context(), dir, "1.0.0"); err == nil || !strings.Contains(err.Error(), "the only one") || !one.Hosts() {
		t.Errorf("alone: %v, hosts %v", err, one.Hosts())
	}
	two := join(t, embed.Options{Dir: dir})
	next, err := embed.StepDown(t.Context(), dir, "1.0.0")
	if err != nil || next.PID != os.Getpid() || one.Hosts() || !two.Hosts() {
		t.Fatalf("got %+v, %v; hosts: %v %v", next, err, one.Hosts(), two.Hosts())
	}
	holds(t, one, "key", "value")
	put(t, one, "key", "another")
	holds(t, two, "key", "another")
	if err := two.Close(); err != nil { // and takes it back when nobody else is there
		t.Fatal(err)
	}
	holds(t, one, "key", "another")
	if !one.Hosts() {
		t.Error("nobody hosts")
	}
}

// TestOneConnectionOutlivesEveryChangeOfRole with its subscriptions: of who hosts,
// who has hosted, and who never does.
func TestOneConnectionOutlivesEveryChangeOfRole(t *testing.T) {
	dir := t.TempDir()
	all := []*embed.Member{join(t, embed.Options{Dir: dir}), join(t, embed.Options{Dir: dir}), join(t, embed.Options{Dir: dir})}
	var conns []*nats.Conn
	var subs []*nats.Subscription
	for _, m := range all {
		sub, err := m.Conn().SubscribeSync("news")
		if err != nil {
			t.Fatal(err)
		}
		conns, subs = append(conns, m.Conn()), append(subs, sub)
	}
	hear := func(change string, left int) {
		t.Helper()
		for n, m := range all[:left] {
			if m.Conn() != conns[n] {
				t.Errorf("%s: process %d has another connection", change, n)
			}
			eventually(t, func(ctx context.Context) error { // the server knows of a subscription a moment later
				ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				_ = all[0].Conn().Publish("news", []byte(change)) // there is no host for a moment
				for {
					msg, err := subs[n].NextMsgWithContext(ctx)
					if err != nil || string(msg.Data) == change {
						return err
					}
				}
			})
		}
	}
	hear("at first", 3)
	for n := range 3 { // each of them may be asked
		if _, err := embed.StepDown(t.Context(), dir, "1.0.0"); err != nil {
			t.Fatal(err)
		}
		hear(fmt.Sprint("after request ", n), 3)
	}
	for left := 2; left > 0; left-- {
		if err := all[left].Close(); err != nil {
			t.Fatal(err)
		}
		hear(fmt.Sprint("after the end of ", left), left)
	}
}

// TestANewerVersionTakesOver when it comes, and an older one never does; other
// older ones leave the store to it. None of them loses anything.
func TestANewerVersionTakesOver(t *testing.T) {
	dir := t.TempDir()
	old := []*embed.Member{join(t, embed.Options{Dir: dir, Version: "v1.2.3"}), join(t, embed.Options{Dir: dir, Version: "v1.2.3"}), join(t, embed.Options{Dir: dir, Version: "v1.2.9"})}
	put(t, old[0], "key", "value")
	begun := time.Now()
	newer := join(t, embed.Options{Dir: dir, Version: "v1.10.0"})
	t.Logf("joined and hosting after %s", time.Since(begun).Round(time.Millisecond))
	if !newer.Hosts() {
		t.Error("the newer one does not host")
	}
	holds(t, newer, "key", "value")
	for _, m := range old {
		put(t, m, "key", "by an old one")
		holds(t, newer, "key", "by an old one")
		if m.Hosts() {
			t.Error("an older one hosts")
		}
	}
	for _, version := range []string{"v1.2.3", "v1.10.0", "dev", "v1.10.1-0.20261121-abcdef", ""} {
		m := join(t, embed.Options{Dir: dir, Version: version})
		put(t, m, "key", version)
		if m.Hosts() || !newer.Hosts() {
			t.Errorf("version %q took the store from v1.10.0", version)
		}
	}
	if err := newer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, m := range old { // they go on with the next one
		holds(t, m, "key", "")
	}
}

// TestAHostKeepsTheStoreFromAnOlderOne although that asks.
func TestAHostKeepsTheStoreFromAnOlderOne(t *testing.T) {
	dir := t.TempDir()
	one := join(t, embed.Options{Dir: dir, Version: "2.0.0"})
	two := join(t, embed.Options{Dir: dir, Version: "2.0.0"})
	for _, wish := range []string{`{"protocol":1,"version":"1.9.9","pid":1,"runner":"run-x"}`, `{"protocol":1,"version":"2.0.0","pid":1,"runner":"run-x"}`,
		`{"protocol":0,"version":"9.0.0","pid":1,"runner":"run-x"}`, `{"protocol":1,"version":"dev","pid":1,"runner":"run-x"}`} {
		answer, err := two.Conn().Request("loop.host.stepdown", []byte(wish), time.Minute)
		if err != nil || !strings.Contains(string(answer.Data), "not newer") {
			t.Errorf("%s: %v, %v", wish, answer, err)
		}
	}
	if _, err := two.Conn().Request("loop.host.stepdown", []byte("{"), 50*time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("what is no wish was answered: %v", err)
	}
	if !one.Hosts() {
		t.Error("it handed over")
	}
}

// TestANewerProtocolTakesOver: the older programs hand over and stop, and say
// that this client is to be restarted.
func TestANewerProtocolTakesOver(t *testing.T) {
	dir := t.TempDir()
	one, two := join(t, embed.Options{Dir: dir, Version: "1.0.0"}), join(t, embed.Options{Dir: dir, Version: "1.0.0"})
	put(t, one, "key", "value")
	newer := join(t, embed.WithProtocol(embed.Options{Dir: dir, Version: "2.0.0"}, embed.Protocol+1))
	if !newer.Hosts() {
		t.Error("the newer one does not host")
	}
	holds(t, newer, "key", "value")
	for _, m := range []*embed.Member{one, two} {
		<-m.Replaced()
		for _, part := range []string{"a newer loop-mcp hosts", "2.0.0", "1.0.0", "restart this client"} {
			if err := m.Trouble(); err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("the trouble %v does not say %q", err, part)
			}
		}
		eventually(t, func(context.Context) error {
			if !m.Conn().IsClosed() {
				return errors.New("requests still wait for an answer")
			}
			return nil
		})
		if m.Hosts() {
			t.Error("an older one hosts")
		}
	}
	_, err := embed.Join(t.Context(), embed.Options{Dir: dir, Version: "1.0.0"})
	var replaced *embed.ReplacedError
	if !errors.As(err, &replaced) || replaced.Protocol != embed.Protocol+1 {
		t.Errorf("an older one that comes is told %v", err)
	}
	if err := newer.Close(); err != nil {
		t.Fatal(err)
	}
	if one.Hosts() || two.Hosts() || one.Trouble() == nil {
		t.Error("an older one opened the store that a newer one has written to")
	}
}

// TestAnOlderProtocolThatStays, because it never heard of handing over or has the
// store alone.
func TestAnOlderProtocolThatStays(t *testing.T) {
	dir := t.TempDir()
	start(t, embed.Options{Dir: dir, Version: "1.0.0"})
	_, err := embed.Join(t.Context(), embed.WithProtocol(embed.Options{Dir: dir, Version: "2.0.0"}, embed.Protocol+1))
	var old *embed.IncompatibleError
	if !errors.As(err, &old) || old.Protocol != embed.Protocol || old.PID != os.Getpid() {
		t.Fatalf("got error %v", err)
	}
	for _, part := range []string{"1.0.0", "2.0.0", fmt.Sprint(os.Getpid())} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
}

func TestTheOrderOfVersions(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		older bool
	}{
		{"1.2.3", "1.2.4", true}, {"v1.2.3", "1.10.0", true}, {"v0.9.9", "v1.0.0", true}, {"1.2.3", "1.2.3", false}, {"v1.2.3", "1.2.3", false}, {"2.0.0", "1.9.9", false},
		{"dev", "1.0.0", false}, {"1.0.0", "dev", false}, {"", "1.0.0", false}, {"1.0.0", "1.0.1-rc.1", false}, {"1.0.0+dirty", "1.0.1", false},
		{"v0.0.0-20261121101010-abcdefabcdef", "v1.0.0", false}, {"1.0", "1.1", false}, {"1.0.0", "1.0.99999999999999999999", false}, {"1.-1.0", "1.0.0", false},
	} {
		if got := embed.OlderVersion(tt.a, tt.b); got != tt.older {
			t.Errorf("%q is older than %q: %v", tt.a, tt.b, got)
		}
		if tt.older && embed.OlderVersion(tt.b, tt.a) {
			t.Errorf("%q and %q are both older", tt.a, tt.b)
		}
	}
}
