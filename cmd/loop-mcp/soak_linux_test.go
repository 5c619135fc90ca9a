package main

import (
	"archive/zip"
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var soak = flag.Duration("soak", 8*time.Second, "how long TestSoak works on loops; a process is killed every 30s, or four times in all")

const soakLoops = 50

// vitals are what a process holds.
type vitals struct{ memory, files, threads, routines int }

// TestSoak works on fifty loops in one process after the other, each killed in
// the middle of its work. The store is sound after each kill, nothing goes back,
// processes do not grow, and the store takes at most twice what is in it.
func TestSoak(t *testing.T) {
	b := newBox(t)
	b.write("config/loop-mcp/config.yaml", "limits: {ceilings: {max_iterations: 1000000, max_passes: 1000000, max_duration: 9000h, max_active: 9000h}}\n")
	b.write(works+"/soak.loop.yaml", `name: soak
goal: go on
body: {kind: command, run: [sh, -c, "echo iteration $LOOP_ITERATION; head -c 500 /dev/zero | tr '\\000' x"]}
until: {all: [{kind: predicate, expression: 'false'}]}
limits: {max_iterations: 1000000, max_passes: 1000000, max_duration: 9000h, max_active: 9000h}
stall: {passes: 0}
delay: 500ms
`)
	c := b.connect()
	for range soakLoops {
		c.startLoop("soak")
	}
	c.close()
	life := min(30*time.Second, *soak/4)
	var lives []vitals
	done := map[string]float64{} // iterations by loop
	for begun := time.Now(); time.Since(begun) < *soak || len(lives) < 4; {
		lives = append(lives, b.soakOnce(life, len(lives)%2 == 0, done))
		b.want(0, []string{"verify"})
	}
	var all float64
	for id, n := range done {
		if all += n; n == 0 {
			t.Errorf("%s was never worked on", id)
		}
	}
	if len(done) != soakLoops {
		t.Errorf("there are %d loops", len(done))
	}
	disk, live := diskOf(t, filepath.Join(b.dir, "store")), b.liveData()
	t.Logf("%d lives, %d iterations; the store has %d kB on disk, %d kB in a backup", len(lives), int(all), disk>>10, live>>10)
	if disk > 2*live+4<<20 { // what is replaced goes when its block is rewritten
		t.Errorf("the store has %d kB on disk for %d kB", disk>>10, live>>10)
	}
	// What one process holds differs from the next; growth moves all of them.
	early, late := lives[:len(lives)/2], lives[len(lives)/2:]
	first, last := extreme(early, slices.Max), extreme(late, slices.Min)
	if last.memory > first.memory+16<<10 || last.files > first.files+16*3+8 || // three for each body that runs
		last.threads > first.threads+16 {
		t.Errorf("processes grow: from at most %+v to at least %+v", first, last)
	}
	if a, z := lives[0].routines, lives[(len(lives)-1)&^1].routines; z > a+3*soakLoops {
		t.Errorf("goroutines grow: from %d to %d", a, z)
	}
}

// extreme is of each figure the one that choose takes.
func extreme(lives []vitals, choose func([]int) int) vitals {
	of := func(figure func(vitals) int) int {
		var all []int
		for _, v := range lives {
			all = append(all, figure(v))
		}
		return choose(all)
	}
	return vitals{
		memory: of(func(v vitals) int { return v.memory }), files: of(func(v vitals) int { return v.files }), threads: of(func(v vitals) int { return v.threads }),
	}
}

// soakOnce lets a server work for a while and kills it: with a dump of its
// goroutines, or without a word.
func (b *box) soakOnce(life time.Duration, dump bool, done map[string]float64) vitals {
	b.t.Helper()
	c := b.connect()
	c.call("loop_list", map[string]any{"limit": 1}) // opens the store
	half := vitals{}
	for i, part := range []time.Duration{life / 2, life / 2} {
		<-time.After(part)
		if i == 0 {
			half = vitalsOf(b.t, c.cmd.Process.Pid)
		}
	}
	v := vitalsOf(b.t, c.cmd.Process.Pid)
	for page := ""; ; {
		list, problem := c.call("loop_list", map[string]any{"limit": 100, "page": page})
		if problem != "" {
			b.t.Fatal(problem)
		}
		items, _ := list["items"].([]any)
		for _, item := range items {
			id := fmt.Sprint(item.(map[string]any)["loop_id"])
			loop, problem := c.call("loop_inspect", map[string]any{"loop_id": id})
			usage, _ := loop["usage"].(map[string]any)
			n, _ := usage["iterations"].(float64)
			if problem != "" || n < done[id] {
				b.t.Errorf("%s went back from %g iterations to %g: %s", id, done[id], n, problem)
			}
			done[id] = n
		}
		if page, _ = list["next_page"].(string); page == "" {
			break
		}
	}
	sig := syscall.SIGKILL
	if dump {
		sig = syscall.SIGQUIT
	}
	_ = c.cmd.Process.Signal(sig)
	_ = c.cmd.Wait()
	v.routines = strings.Count(c.stderr.text(), "\ngoroutine ")
	b.t.Logf("%d kB, %d files, %d threads; half a life before %d kB, %d files, %d threads; %d goroutines",
		v.memory, v.files, v.threads, half.memory, half.files, half.threads, v.routines)
	return v
}

func vitalsOf(t testing.TB, pid int) (v vitals) {
	t.Helper()
	v.memory, _ = memory(t, pid)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	v.files, v.threads = len(files), len(tasks)
	return v
}

// diskOf is how much space the files of a folder take.
func diskOf(t testing.TB, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += stat.Blocks * 512
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// liveData is how much there is in a backup, unpacked.
func (b *box) liveData() (sum int64) {
	b.t.Helper()
	file := filepath.Join(b.dir, "soak.zip")
	b.want(0, []string{"backup", file})
	data := []byte(readFile(b.t, file))
	members, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range members.File {
		sum += int64(m.UncompressedSize64)
	}
	return sum
}
