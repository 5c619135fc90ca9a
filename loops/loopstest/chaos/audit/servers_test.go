package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestANodeThatDiffersIsFound: a message that is missing, another one, or one too
// many.
func TestANodeThatDiffersIsFound(t *testing.T) {
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: loopStream, Subjects: []string{loopSubject + ">"}, Storage: jetstream.MemoryStorage})
	}
	if err != nil {
		t.Fatal(err)
	}
	const snapshot = `{"k":"snapshot"}`
	for _, m := range [][2]string{{"a", "head 0"}, {"a", "head 1"}, {"b", "head 0"}, {"b", snapshot}, {"a", "head 2"}} {
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: loopSubject + m[0], Header: nats.Header{"Loop-Head": {m[1]}}, Data: []byte("body")}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := readServers(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*store)
		want   string
	}{
		{"the same", func(*store) {}, ""},
		{"another body", func(s *store) { s.messages[1].body = []byte("other") }, "stands where"},
		{"another head", func(s *store) { s.messages[1].text = "head 7" }, "stands where"},
		{"one more", func(s *store) { s.messages = slices.Delete(s.messages, 1, 2) }, "stands where"},
		{"one more that a snapshot replaced", func(s *store) { s.messages = slices.Delete(s.messages, 2, 3) }, ""},
		{"one more at the end", func(s *store) { s.messages = s.messages[:4] }, "nowhere else"},
		{"one less at the end", func(s *store) { s.messages = append(s.messages, message{seq: 6, loop: "a"}) }, "is missing"},
	} {
		s := &store{messages: slices.Clone(whole.messages)}
		test.change(s)
		got, err := s.differs(t.Context(), nc)
		if err != nil || (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}
