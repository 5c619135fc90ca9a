package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// Fault points are comments in loops, kvstate and kvstate/embed (gofail). The
// program is built from a copy of the tree in which they are switched on.

// Point is a fault point and when it is passed.
type Point struct {
	Name    string
	Recover bool // while a store is opened that a killed process left
	Paid    bool // by a loop with a model for a body
	Many    bool // when so many loops commit at once that they go in batches
	Skip    int  // how often it may be passed before; a loop of three iterations passes it more often
}

// Points are all fault points of the program.
var Points = []Point{
	{Name: "afterBind"}, {Name: "beforeCreate"}, {Name: "afterCreate"},
	{Name: "beforeClaim"}, {Name: "afterClaim"},
	{Name: "beforeBody", Skip: 1}, {Name: "afterBody", Skip: 1},
	{Name: "beforeCommit", Skip: 1}, {Name: "afterCommit", Skip: 1},
	{Name: "beforeReserve", Paid: true, Skip: 1}, {Name: "afterReserve", Paid: true, Skip: 1},
	{Name: "beforeRecord", Paid: true, Skip: 1}, {Name: "afterRecord", Paid: true, Skip: 1},
	{Name: "beforePublish", Skip: 2}, {Name: "afterPublish", Skip: 2}, {Name: "lostAnswer", Skip: 3}, {Name: "afterObject", Skip: 1}, {Name: "beforeAlone", Skip: 2},
	{Name: "beforeCompact"}, {Name: "afterCompact"},
	{Name: "beforeTidy", Many: true, Skip: 2}, {Name: "duringTidy", Many: true, Skip: 1}, {Name: "afterTidy", Many: true},
	{Name: "afterLock", Recover: true}, {Name: "afterServe", Recover: true},
	{Name: "beforeCatchUp", Recover: true}, {Name: "afterCatchUp", Recover: true},
}

// crowd is how many loops there are at a point that only many come to.
const crowd = 40

// The operations at a fault point.
const (
	OpKillAt  = "kill"  // SIGKILL while it stands there
	OpPanicAt = "panic" // the program panics there
	OpSleepAt = "sleep" // it takes a while
	OpLoseAt  = "lose"  // what the point has is lost: of lostAnswer, an answer of the store
)

// BuildWithPoints builds loop-mcp with its fault points into dir.
func BuildWithPoints(ctx context.Context, dir, tags string) (program string, err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "example.com/loop-mcp").Output()
	if err != nil {
		return "", fmt.Errorf("find loop-mcp: %w", err)
	}
	root, tree := strings.TrimSpace(string(out)), filepath.Join(dir, "tree")
	files, err := exec.CommandContext(ctx, "git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return "", fmt.Errorf("list the files of the tree: %w", err)
	}
	for name := range strings.Lines(string(files)) {
		if err := copyFile(filepath.Join(root, strings.TrimSpace(name)), filepath.Join(tree, strings.TrimSpace(name))); err != nil {
			return "", err
		}
	}
	sums, err := os.ReadFile(filepath.Join(root, "loops/loopstest/chaos/go.sum"))
	if err != nil {
		return "", err
	}
	for sum := range strings.Lines(string(sums)) {
		if strings.HasPrefix(sum, "go.etcd.io/gofail ") {
			err = errors.Join(err, appendTo(filepath.Join(tree, "go.sum"), sum))
		}
	}
	program = filepath.Join(dir, "loop-mcp")
	for _, args := range [][]string{
		{"run", "go.etcd.io/gofail", "enable", filepath.Join(tree, "loops"), filepath.Join(tree, "kvstate"), filepath.Join(tree, "kvstate/embed")},
		{"mod", "edit", "-require=go.etcd.io/gofail@v0.2.0", filepath.Join(tree, "go.mod")},
		{"build", "-C", tree, "-tags", "grpcnotrace," + tags, "-o", program, "./cmd/loop-mcp"},
	} {
		if out, runErr := exec.CommandContext(ctx, "go", args...).CombinedOutput(); runErr != nil {
			return "", errors.Join(err, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), runErr, out))
		}
	}
	return program, err
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) { // removed and not committed yet
		return nil
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	return err
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// At makes a run in which the fault happens at each of the points, one process
// after the other, and audits it. Program is one that [BuildWithPoints] built.
func At(ctx context.Context, opts Options, op string, points ...Point) (audit.Report, string, error) {
	opts.Servers = 1
	outside, err := newProvider(ctx)
	if err != nil {
		return audit.Report{}, "", err
	}
	defer outside.server.Close()
	opts.Config, opts.Paid, opts.Many = outside.config(), points[0].Paid, points[0].Many
	w, err := newWorld(ctx, opts)
	if err != nil {
		return audit.Report{}, "", err
	}
	defer w.history.out.Close()
	outside.effects = w.effects()
	go func() { _ = outside.server.Serve(outside.listener) }()
	if err := w.runAt(ctx, op, points); err != nil {
		return audit.Report{}, w.dir, err
	}
	w.leftBehind(ctx)
	report, err := audit.Folder(ctx, w.dir, audit.Options{})
	if err == nil && opts.Many {
		report, err = w.tidied(ctx, report)
	}
	return report, w.dir, err
}

// tidied lets servers open the store until nothing is there any more that a
// snapshot has replaced.
func (w *world) tidied(ctx context.Context, report audit.Report) (audit.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for report.Leftovers > 0 {
		s := &slot{w: w}
		if err := s.start(ctx); err != nil {
			return report, err
		}
		_, err := s.get().call(ctx, "loop_list", map[string]any{"limit": 1})
		if err = errors.Join(err, s.end()); err != nil {
			return report, fmt.Errorf("%d replaced records are left: %w", report.Leftovers, err)
		}
		if report, err = audit.Folder(ctx, w.dir, audit.Options{}); err != nil {
			return report, err
		}
	}
	return report, nil
}

// live is the life of the loops of a run.
func (w *world) live(ctx context.Context) {
	users := 1
	if w.opts.Many {
		users = crowd
	}
	var all sync.WaitGroup
	for n := range users {
		u := newUser(w, n)
		u.moves, u.calm = 0, true
		all.Go(func() { u.live(ctx) })
	}
	all.Wait()
}

func (w *world) runAt(ctx context.Context, op string, points []Point) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &slot{w: w}
	w.slots = []*slot{s}
	live := sync.OnceFunc(func() { w.live(ctx) })
	defer func() { // of a run that could not go on there is something left
		cancel()
		if srv := s.take(); srv != nil {
			srv.kill()
		}
		live() // until the users have gone, who write into the history
	}()
	if points[0].Recover { // there must be something to recover
		if err := s.start(ctx); err != nil {
			return err
		}
		go live()
		if err := w.until(ctx, func() bool { info, err := os.Stat(w.effects()); return err == nil && info.Size() > 600 }); err != nil {
			return errors.Join(err, errors.New("no body runs"))
		}
		w.kill(s)
	}
	for _, p := range points {
		if err := w.pass(ctx, s, op, p, func() {
			if !points[0].Recover {
				go live() // with the first of them
			}
		}); err != nil {
			return fmt.Errorf("%s at %s: %w", op, p.Name, err)
		}
	}
	if s.get() == nil {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	late, cancelLate := context.WithTimeout(ctx, answerTime)
	defer cancelLate()
	close(w.done)
	live() // to their end
	return errors.Join(w.settleAll(late), s.end())
}

// pass lets a process come to the point, where op happens to it. One that outlived
// the point before has ended then.
func (w *world) pass(ctx context.Context, s *slot, op string, p Point, up func()) error {
	if err := s.end(); err != nil {
		return err
	}
	if err := w.reachable(p); err != nil {
		return err
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	term := fmt.Sprintf("%s=%d*off->1*%s", p.Name, p.Skip, map[string]string{OpKillAt: "sleep(60000)", OpPanicAt: "panic(\"chaos\")", OpSleepAt: "sleep(300)", OpLoseAt: "return()"}[op])
	if p.Skip == 0 {
		term = strings.Replace(term, "0*off->", "", 1)
	}
	if p.Many { // a commit that goes alone is slow, so that others wait and go together
		term += ";beforeAlone=sleep(20)"
	}
	if err := s.start(ctx, "GOFAIL_HTTP=127.0.0.1:"+port, "GOFAIL_FAILPOINTS="+term); err != nil {
		return err
	}
	up()
	srv := s.get()
	died := func() bool {
		select {
		case <-srv.gone:
			return true
		default:
			return false
		}
	}
	if err := w.until(ctx, func() bool { return died() || passed(ctx, port, p.Name) > p.Skip }); err != nil {
		return errors.Join(err, errors.New("it was not reached"))
	}
	switch {
	case op == OpKillAt:
		w.kill(s)
	case op == OpPanicAt: // in a tool call it is an error of that call
		pause(ctx, 50*time.Millisecond)
		if died() {
			return s.died()
		}
	case died():
		return errors.New("the process ended by itself")
	}
	return nil
}

// reachable says why no process can come to a point: what the points of many are
// about does not happen where the disk has little room.
func (w *world) reachable(p Point) error {
	if !p.Many {
		return nil
	}
	dir := filepath.Join(w.dir, audit.DataFolder)
	f, err := embed.Inspect(dir)
	if err != nil {
		return err
	}
	if need := f.Need + kvstate.MaxLeftovers + margin; f.Need > 0 && f.Free < need {
		return fmt.Errorf("no process can come there: the disk of %s has %d MiB free, and with less than %d MiB a snapshot removes at once what it replaces: make room, or set TMPDIR to a folder on a larger disk", dir, f.Free>>20, need>>20)
	}
	return nil
}

// margin is what the run itself writes at most, amply.
const margin = 64 << 20

// died notes a process that ended by a panic.
func (s *slot) died() error {
	srv, asked := s.take(), time.Now().UnixNano()
	err := srv.cmd.Wait()
	s.w.kills.Add(1)
	s.w.history.add(audit.Told{Op: audit.OpKill, PID: srv.pid(), Asked: asked})
	if err == nil || !strings.Contains(err.Error(), "exit status 2") {
		return fmt.Errorf("it did not panic: %v", err)
	}
	return nil
}

// until asks until something is true.
func (w *world) until(ctx context.Context, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for !is() {
		if !pause(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// passed is how often a process has come to a point.
func passed(ctx context.Context, port, point string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/"+point+"/count", nil)
	if err != nil {
		return 0
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// Chain is five recover points, by random.
func Chain(random *rand.Rand) []Point {
	var recovery, chain []Point
	for _, p := range Points {
		if p.Recover {
			recovery = append(recovery, p)
		}
	}
	for range 5 {
		chain = append(chain, recovery[random.IntN(len(recovery))])
	}
	return chain
}
