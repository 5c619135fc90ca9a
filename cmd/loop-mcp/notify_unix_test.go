//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/kvstate/cluster/clustertest"
)

// notifies configures a shell command as notify.
func (b *box) notifies(script string) {
	b.t.Helper()
	argv, _ := json.Marshal([]string{"sh", "-c", script})
	b.write("config/loop-mcp/config.yaml", fmt.Sprintf("notify: %s\n", argv))
}

// told are the snapshots that notify was given.
func (b *box) told() []map[string]any {
	b.t.Helper()
	data, _ := os.ReadFile(filepath.Join(b.dir, "told")) // none yet: nobody was told
	var all []map[string]any
	for line := range strings.Lines(string(data)) {
		var s map[string]any
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			b.t.Fatalf("notify was given %q: %v", line, err)
		}
		all = append(all, s)
	}
	return all
}

// statuses are "name status" of what notify was given.
func (b *box) statuses() string {
	var all []string
	for _, s := range b.told() {
		all = append(all, fmt.Sprint(s["name"], " ", s["status"]))
	}
	return strings.Join(all, ", ")
}

// TestNotify: a program hears once of each loop that settles or asks, whichever
// command it was, sees no key, and may look at the loop.
func TestNotify(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"run", b.loop("before", "count", scoreThree)}) // and not of this one
	b.notifies(`cat >> told; { echo "$OPENAI_API_KEY|$LOOP_MCP_PARENT|$LOOP_ID"; pwd; } >> env`)
	b.env = append(b.env, "OPENAI_API_KEY=sk-secret")
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed")
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	b.want(0, []string{"cancel", b.only("human")})
	if got, want := b.statuses(), "good completed, human needs_input, human cancelled"; got != want {
		t.Errorf("told was %q, want %q", got, want)
	}
	if s := b.told()[1]; s["attention"] == nil || s["loop_id"] != b.only("human") || s["next"] == "" {
		t.Errorf("the snapshot is %v", s)
	}
	env := strings.Split(readFile(t, filepath.Join(b.dir, "env")), "\n")
	if env[0] != "||"+b.only("good") || env[1] != b.dir {
		t.Errorf("the program saw %q", env)
	}
}

// TestNotifyOfLoopsOnNATSServers, also of what a command without a lease did.
func TestNotifyOfLoopsOnNATSServers(t *testing.T) {
	b := newBox(t)
	b.notifies("cat >> told")
	there := b.on(clustertest.Start(t, clustertest.Options{Nodes: 1}).URL())
	there.want(6, []string{"run", there.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	there.want(0, []string{"cancel", there.only("human")})
	if got, want := there.statuses(), "human needs_input, human cancelled"; got != want {
		t.Errorf("told was %q, want %q", got, want)
	}
}

// TestNotifyThatFails is no concern of the loop; the log says so.
func TestNotifyThatFails(t *testing.T) {
	b := newBox(t)
	b.notifies("echo no network >&2; exit 7")
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed", "exit code 7", "no network")
	b.write("config/loop-mcp/config.yaml", "notify: [/no/such/program]\n")
	b.want(0, []string{"run", b.loop("better", "count", scoreThree)}, "completed", "/no/such/program")
	b.want(0, []string{"verify"})
}

// TestNotifyOfAKilledProcess: it is killed while its program hangs. The next one
// ends what is left of that and tells, once.
func TestNotifyOfAKilledProcess(t *testing.T) {
	b := newBox(t)
	b.notifies(`if mkdir first 2>/dev/null; then echo $$ > hangs; exec sleep 3600; fi; cat >> told`)
	c := b.opened()
	b.want(0, []string{"start", b.loop("good", "count", scoreThree)})
	b.untilFile("hangs")
	one, two := b.opened(), b.opened() // the one that tells lives: they leave it alone
	for range 30 {
		one.until(b.only("good"), "completed")
	}
	if got := b.statuses(); got != "" {
		t.Errorf("told twice: %s", got)
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	b.untilFile("told")
	two.until(b.only("good"), "completed")
	one.close()
	two.close()
	b.opened().close()
	if got := b.statuses(); got != "good completed" {
		t.Errorf("told was %q", got)
	}
	if pid := strings.TrimSpace(readFile(t, filepath.Join(b.dir, "hangs"))); runs(pid) {
		t.Errorf("the program of the killed process is left: %s", pid)
	}
}

// runs reports whether a process is there, as far as /proc tells; one that
// nobody has waited for yet is not.
func runs(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(data), ") Z ")
}
