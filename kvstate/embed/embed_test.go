package embed_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate/embed"
)

// childDir names the variable that makes the test binary a child process.
const childDir = "EMBED_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	ats.Register()
	os.Exit(leaktest.Run(m))
}

// childShares names the variable that makes such a process share the directory.
const childShares = "EMBED_TEST_SHARES"

// child has the directory until it is killed.
func child(dir string) {
	var h any
	var err error
	if os.Getenv(childShares) == "" {
		h, err = embed.Start(context.Background(), embed.Options{Dir: dir})
	} else {
		h, err = embed.Join(context.Background(), embed.Options{Dir: dir})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = h // not used any more: the lock must not go with it
	runtime.GC()
	runtime.GC()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

func start(t *testing.T, opts embed.Options) *embed.Host {
	t.Helper()
	h, err := embed.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// put stores a value, get reads it.
func put(t *testing.T, h connected, key, value string) {
	t.Helper()
	// A server that is asked about its health every few milliseconds may be
	// restarted while it makes the bucket.
	eventually(t, func(ctx context.Context) error {
		js, err := jetstream.New(h.Conn())
		if err != nil {
			return err
		}
		kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "test"})
		if err == nil {
			_, err = kv.PutString(ctx, key, value)
		}
		return err
	})
}

func get(t *testing.T, h connected, key string) string {
	t.Helper()
	js, err := jetstream.New(h.Conn())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(entry.Value())
}

func TestLives(t *testing.T) {
	for _, durability := range []string{"", embed.Power, embed.Process} {
		dir := filepath.Join(t.TempDir(), "new", "directory")
		for n := range 3 {
			h := start(t, embed.Options{Dir: dir, Durability: durability})
			if n > 0 {
				if got := get(t, h, "key"); got != fmt.Sprint("life ", n-1) {
					t.Errorf("life %d found %q", n, got)
				}
			}
			put(t, h, "key", fmt.Sprint("life ", n))
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Errorf("a second Close: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "endpoint.json")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("endpoint.json is left: %v", err)
			}
		}
		info, err := os.Stat(dir)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("the directory is %v, %v", info.Mode(), err)
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := embed.Start(t.Context(), embed.Options{}); err == nil {
		t.Error("no directory was accepted")
	}
	if _, err := embed.Start(t.Context(), embed.Options{Dir: t.TempDir(), Durability: "high"}); err == nil || !strings.Contains(err.Error(), "durability") {
		t.Errorf("a wrong durability: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embed.Start(t.Context(), embed.Options{Dir: filepath.Join(file, "dir")}); err == nil {
		t.Error("a directory below a file was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embed.Start(ctx, embed.Options{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// TestInUse starts a second host in the same process.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	h := start(t, embed.Options{Dir: dir, Version: "1.2.3"})
	put(t, h, "key", "value")
	_, err := embed.Start(t.Context(), embed.Options{Dir: dir})
	var inUse *embed.InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() || inUse.Dir != dir || inUse.Since.IsZero() || inUse.Command == "" {
		t.Fatalf("got error %+v", err)
	}
	for _, part := range []string{dir, fmt.Sprint(os.Getpid()), "LOOP_MCP_HOME"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "endpoint.json"))
	var holder map[string]any
	if err != nil || json.Unmarshal(data, &holder) != nil || holder["version"] != "1.2.3" {
		t.Errorf("endpoint.json: %s, %v", data, err)
	}
	if got := get(t, h, "key"); got != "value" {
		t.Errorf("after the refusal the first has %q", got)
	}
}

// TestSilentHolder meets a lock whose holder has not said who it is, beside the
// traces of one that is gone.
func TestSilentHolder(t *testing.T) {
	for _, left := range []string{"", "{", `{"pid":0}`, `{"pid":999999999,"command":"old"}`} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			lock := flock.New(filepath.Join(dir, "LOCK"))
			if ok, err := lock.TryLock(); !ok || err != nil {
				t.Fatal(ok, err)
			}
			defer lock.Unlock()
			if left != "" {
				if err := os.WriteFile(filepath.Join(dir, "endpoint.json"), []byte(left), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := embed.Start(t.Context(), embed.Options{Dir: dir})
			var inUse *embed.InUseError
			if !errors.As(err, &inUse) || inUse.PID != 0 || !strings.Contains(err.Error(), "another process") {
				t.Errorf("beside %q: %v", left, err)
			}
		})
	}
}

// startChild returns when the child has the directory.
func startChild(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), executable, "-test.run=^$")
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe() // keeps the child waiting
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // most are gone already
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the child said %q", lines.Text())
	}
	return cmd
}

// TestKilledHolder kills the process that has the directory: its lock goes with
// it, and not before, although nobody refers to the host any more.
func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := startChild(t, childDir+"="+dir)
		_, err := embed.Start(t.Context(), embed.Options{Dir: dir})
		var inUse *embed.InUseError
		if !errors.As(err, &inUse) || inUse.PID != cmd.Process.Pid {
			t.Errorf("beside the child: %v", err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		h := start(t, embed.Options{Dir: dir})
		put(t, h, "key", "value")
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestQuiet verifies that the server says nothing on its own and listens
// nowhere.
func TestQuiet(t *testing.T) {
	var log syncBuffer
	h := start(t, embed.Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if !strings.Contains(log.String(), "nats-server") {
		t.Errorf("the server's log did not arrive: %s", log.String())
	}
	if url := h.Conn().ConnectedAddr(); strings.Contains(url, "127.0.0.1") {
		t.Errorf("the connection goes to %s", url)
	}
	if runtime.GOOS == "linux" && listens(t) {
		t.Error("the process listens on a TCP port")
	}
}

// listens reports whether a socket of this process is in the state LISTEN.
func listens(t *testing.T) bool {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			mine[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && mine[f[9]] {
				return true
			}
		}
	}
	return false
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// back returns a channel that gets a value at each reconnect. The client takes
// timers from a pool when it reconnects, so these tests are not in a bubble.
func back(h *embed.Host) <-chan struct{} {
	reconnected := make(chan struct{}, 10)
	h.Conn().SetReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} })
	return reconnected
}

// TestRestart keeps the connection over a restart.
func TestRestart(t *testing.T) {
	h := start(t, embed.Options{Dir: t.TempDir()})
	put(t, h, "key", "value")
	reconnected := back(h)
	if err := h.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-reconnected
	if got := get(t, h, "key"); got != "value" {
		t.Errorf("after the restart the key has %q", got)
	}
}
