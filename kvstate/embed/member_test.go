package embed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
)

// connected is a host or a member.
type connected interface{ Conn() *nats.Conn }

func join(t *testing.T, opts embed.Options) *embed.Member {
	t.Helper()
	return joined(t, embed.Join, opts)
}

func joined(t *testing.T, how func(context.Context, embed.Options) (*embed.Member, error), opts embed.Options) *embed.Member {
	t.Helper()
	m, err := how(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// eventually calls try until it succeeds.
func eventually(t *testing.T, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, time.Second)
		err := try(one)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func holds(t *testing.T, c connected, key, value string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		js, err := jetstream.New(c.Conn())
		if err != nil {
			return err
		}
		kv, err := js.KeyValue(ctx, "test")
		if err != nil {
			return err
		}
		entry, err := kv.Get(ctx, key)
		if err == nil && string(entry.Value()) != value {
			err = fmt.Errorf("the key %s has %q, want %q", key, entry.Value(), value)
		}
		return err
	})
}

// TestMembersShareOneStore: one hosts, the host closes, another takes over, and
// every connection goes on.
func TestMembersShareOneStore(t *testing.T) {
	for name, how := range map[string]func(context.Context, embed.Options) (*embed.Member, error){"sockets": embed.Join, "ports": embed.JoinTCP} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			one := joined(t, how, embed.Options{Dir: dir, Version: "1.0"})
			two := joined(t, how, embed.Options{Dir: dir})
			three := joined(t, how, embed.Options{Dir: dir})
			if !one.Hosts() || two.Hosts() || three.Hosts() {
				t.Fatalf("hosts: %v %v %v", one.Hosts(), two.Hosts(), three.Hosts())
			}
			put(t, two, "key", "by two")
			holds(t, one, "key", "by two")
			holds(t, three, "key", "by two")
			if err := one.Close(); err != nil {
				t.Fatal(err)
			}
			holds(t, two, "key", "by two")
			holds(t, three, "key", "by two")
			if two.Hosts() == three.Hosts() {
				t.Errorf("after the handover: %v %v", two.Hosts(), three.Hosts())
			}
			put(t, three, "key", "by three")
			holds(t, two, "key", "by three")
		})
	}
}

// TestOnlyThisUserReachesTheStore looks at what the host leaves on the disk.
func TestOnlyThisUserReachesTheStore(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are access lists there, and they are inherited")
	}
	dir := t.TempDir()
	m := join(t, embed.Options{Dir: dir})
	sockets, _ := filepath.Glob(filepath.Join(dir, "*.sock"))
	if len(sockets) != 1 {
		t.Fatalf("sockets: %v", sockets)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, sockets[0]: 0o600, filepath.Join(dir, "endpoint.json"): 0o600, filepath.Join(dir, "LOCK"): 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info, err, want)
		}
	}
	if runtime.GOOS == "linux" && listens(t) {
		t.Error("the process listens on a TCP port")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if name := entry.Name(); name != "LOCK" && name != "FORMAT" && name != "store" && name != "runners" {
			t.Errorf("%s is left", name)
		}
	}
}

// TestAPortNeedsTheToken dials the port of a host without its token.
func TestAPortNeedsTheToken(t *testing.T) {
	dir := t.TempDir()
	joined(t, embed.JoinTCP, embed.Options{Dir: dir})
	e := readJSON(t, filepath.Join(dir, "endpoint.json"))
	address, token := fmt.Sprint(e["address"]), fmt.Sprint(e["token"])
	if len(token) != 48 {
		t.Errorf("the token is %q", token)
	}
	for _, wrong := range []string{"", token[:47] + "x"} {
		if c, err := nats.Connect("nats://"+address, nats.Token(wrong)); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("with the token %q: %v", wrong, err)
			c.Close()
		}
	}
	c, err := nats.Connect("nats://"+address, nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	var v map[string]any
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestStoreWithALongPath: the socket is elsewhere, and gone with the host.
func TestStoreWithALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30))
	one := join(t, embed.Options{Dir: dir})
	two := join(t, embed.Options{Dir: dir})
	put(t, two, "key", "value")
	address := fmt.Sprint(readJSON(t, filepath.Join(dir, "endpoint.json"))["address"])
	info, err := os.Stat(filepath.Dir(address))
	if len(address) > embed.MaxSocketPath || err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket is at %s, in %v, %v", address, info, err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, two, "key", "value")
	if _, err := os.Stat(filepath.Dir(address)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", filepath.Dir(address), err)
	}
}

func TestNoRoomForASocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a port is used there")
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("long-", 30))
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/nowhere")
	t.Setenv("TMPDIR", file)
	m, err := embed.Join(t.Context(), embed.Options{Dir: long})
	if err == nil { // /tmp is there
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	if !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got error %v", err)
	}
}

// TestTracesOfAKilledHost: neither its endpoint nor its socket are in the way.
func TestTracesOfAKilledHost(t *testing.T) {
	for _, left := range []string{"", "{", `{"pid":999999999,"protocol":1,"network":"unix","address":"ADDRESS"}`,
		`{"pid":1,"protocol":1,"network":"unix","address":"ADDRESS"}`, `{"pid":1,"protocol":99,"network":"unix","address":"ADDRESS"}`,
		`{"pid":1,"protocol":1,"alone":true}`} {
		dir := t.TempDir()
		socket := filepath.Join(dir, "host-dead.sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		if err := os.WriteFile(filepath.Join(dir, "endpoint.json"), []byte(strings.Replace(left, "ADDRESS", socket, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		one, two := join(t, embed.Options{Dir: dir}), join(t, embed.Options{Dir: dir})
		put(t, two, "key", "value")
		holds(t, one, "key", "value")
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("beside %q the dead socket is left: %v", left, err)
		}
	}
}

// TestAnotherVersionIsRefused meets a host with another protocol.
func TestAnotherVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	join(t, embed.Options{Dir: dir, Version: "9.9"})
	path := filepath.Join(dir, "endpoint.json")
	e := readJSON(t, path)
	e["protocol"] = 99
	data, _ := json.Marshal(e)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embed.Join(t.Context(), embed.Options{Dir: dir, Version: "1.1"})
	var other *embed.ReplacedError
	if !errors.As(err, &other) || other.Protocol != 99 || other.PID != os.Getpid() {
		t.Fatalf("got error %v", err)
	}
	for _, part := range []string{"9.9", "1.1", "99", fmt.Sprint(os.Getpid())} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
}

// TestAloneIsNotShared: Start is for one process.
func TestAloneIsNotShared(t *testing.T) {
	dir := t.TempDir()
	start(t, embed.Options{Dir: dir})
	_, err := embed.Join(t.Context(), embed.Options{Dir: dir})
	var inUse *embed.InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() || inUse.Silent {
		t.Errorf("got error %v", err)
	}
}

// TestAHostThatCannotStart gives the lock back and says why; whoever can, hosts.
func TestAHostThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "store"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the lock is free again
		if _, err := embed.Join(t.Context(), embed.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "store")) {
			t.Fatalf("got error %v", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	put(t, join(t, embed.Options{Dir: dir}), "key", "value")
}

// TestRunners: a process is known by a lock that goes with it.
func TestRunners(t *testing.T) {
	dir := t.TempDir()
	one, two := join(t, embed.Options{Dir: dir}), join(t, embed.Options{Dir: dir})
	if one.Runner() == two.Runner() || one.Runner() == "" {
		t.Fatalf("the runners are %q and %q", one.Runner(), two.Runner())
	}
	var asked sync.WaitGroup
	for range 8 { // those who ask are in nobody's way
		asked.Go(func() {
			for range 50 {
				if !one.Alive(two.Runner()) || !two.Alive(one.Runner()) || !one.Alive(one.Runner()) {
					t.Error("a living process is taken for a dead one")
				}
			}
		})
	}
	asked.Wait()
	for _, nobody := range []string{"", "run-gone", "../LOCK", "a/b"} {
		if one.Alive(nobody) {
			t.Errorf("%q lives", nobody)
		}
	}
	name := two.Runner()
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if one.Alive(name) {
		t.Error("a process that has closed lives")
	}
	dead := filepath.Join(dir, "runners", "run-dead.lock")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if one.Alive("run-dead") {
		t.Error("a file without a lock counts as a process")
	}
	join(t, embed.Options{Dir: dir})
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a dead process is left: %v", err)
	}
	if !one.Alive(one.Runner()) {
		t.Error("a living process was cleared away")
	}
}
