package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
	"github.com/spf13/cobra"
)

// level is how bad a finding is.
type level string

const (
	levelOK     level = "ok"
	levelNote   level = "note"   // it works, and may surprise
	levelBroken level = "broken" // it does not work
)

// finding is one fact that was found, and what to do about it.
type finding struct {
	Level  level  `json:"status"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// examination is what was found in one field.
type examination struct {
	Name     string    `json:"name"`
	Level    level     `json:"status"` // the worst of its findings
	Findings []finding `json:"findings"`
}

func (e *examination) add(l level, remedy, format string, args ...any) {
	e.Findings = append(e.Findings, finding{Level: l, Text: fmt.Sprintf(format, args...), Remedy: remedy})
	if l == levelBroken || l == levelNote && e.Level == levelOK {
		e.Level = l
	}
}

func (e *examination) ok(format string, args ...any) { e.add(levelOK, "", format, args...) }

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what commonly goes wrong, and say what to do about each",
		Long: "Look for what commonly goes wrong, most common first: clients that can't start loop-mcp, the server\n" +
			"itself, the configuration, programs, models, folders, the store, its loops, the clock, the network.\n" +
			"Each finding has its remedy. Nothing is changed, no store is made, no provider is called, and keys\n" +
			"are never shown. Exit code 1 when something is broken.",
		Example: "  loop-mcp doctor\n  loop-mcp doctor --json | jq '.checks[] | select(.status != \"ok\")'",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.doctor(cmd.Context())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// doctor is one look at a machine.
type doctor struct {
	app        *app
	machine    *clients.Machine
	executable string
	environ    []string
	now        time.Time

	settings settings
	broken   error // why there are no settings
}

func (a *app) doctor(ctx context.Context) error {
	m, err := a.machine()
	if err != nil {
		return err
	}
	d := &doctor{app: a, machine: m, environ: os.Environ(), now: time.Now()}
	if d.executable, err = os.Executable(); err != nil {
		return fmt.Errorf("find the path of this program: %w", err)
	}
	d.settings, d.broken = a.settings()
	checks := d.examine(ctx)
	broken := 0
	for _, c := range checks {
		if c.Level == levelBroken {
			broken++
		}
	}
	if a.json {
		err = a.printJSON(map[string]any{"checks": checks, "broken": broken})
	} else {
		a.printExaminations(checks)
	}
	if err == nil && broken > 0 {
		err = &exitError{code: exitProblem}
	}
	return err
}

// examine looks at everything, what goes wrong most often first. Without a
// configuration that can be read the rest is not looked at: it would be guessed.
func (d *doctor) examine(ctx context.Context) (all []examination) {
	look := func(name string, check func(context.Context, *examination)) {
		e := examination{Name: name, Level: levelOK, Findings: []finding{}}
		check(ctx, &e)
		all = append(all, e)
	}
	look("clients", d.clients)
	look("program", d.program)
	look("server", d.server)
	look("configuration", d.configuration)
	if d.broken != nil {
		return all
	}
	look("programs", d.programs)
	look("models", d.models)
	look("folders", d.folders)
	var heads loopsSeen
	if d.settings.clustered() {
		look("nats", func(ctx context.Context, e *examination) { heads = d.cluster(ctx, e) })
	} else {
		look("disk", d.disk)
		look("store", func(ctx context.Context, e *examination) { heads = d.store(ctx, e) })
	}
	look("loops", func(_ context.Context, e *examination) { d.loops(heads, e) })
	look("clock", func(_ context.Context, e *examination) { d.clock(heads, e) })
	look("http", d.http)
	return all
}

// configuration is what the operator decided.
func (d *doctor) configuration(_ context.Context, e *examination) {
	if d.broken != nil {
		for line := range strings.Lines(d.broken.Error()) {
			e.add(levelBroken, "mend that line; loop-mcp reads nothing else before", "%s", strings.TrimSpace(line))
		}
		return
	}
	path := orElse(d.app.configPath, d.settings.dir+string(os.PathSeparator)+"config.yaml")
	if info, err := os.Stat(path); err == nil {
		e.ok("%s is well-formed", path)
		if info.Mode().Perm()&0o022 != 0 && d.machine.GOOS != "windows" {
			e.add(levelNote, "chmod go-w "+path, "others may write to %s, which decides what is run", path)
		}
	} else {
		e.ok("there is no %s: the defaults hold", path)
	}
	if _, err := d.settings.allow.programs(); err != nil {
		e.add(levelBroken, "mend or remove the file", "%v", err)
	}
	if _, err := d.settings.trust.pins(); err != nil {
		e.add(levelBroken, "mend or remove the file; trusted loop files have to be trusted again", "%v", err)
	}
	for _, name := range d.misspelt() {
		e.add(levelNote, "correct or unset it", "%s", name)
	}
}

// clock is whether time can be relied on.
func (d *doctor) clock(seen loopsSeen, e *examination) {
	const built = 2026
	if d.now.Year() < built {
		e.add(levelBroken, "set the clock; limits and waits are measured with it", "this machine says that it is %s", d.now.Format(time.DateTime))
		return
	}
	var latest time.Time
	id := ""
	for _, h := range seen.heads {
		if h.UpdatedAt.After(latest) {
			latest, id = h.UpdatedAt, string(h.ID)
		}
	}
	if ahead := latest.Sub(d.now); ahead > time.Minute {
		e.add(levelBroken, "set the clock; if it was ahead before, waits end when that time comes",
			"the clock was set back: %s changed in %s from now", id, span(ahead))
		return
	}
	e.ok("it is %s%s", d.now.Format(time.DateTime+" MST"), upFor(knownUptime))
}

// upFor says how long the machine has been up; nil: it is not known here.
func upFor(uptime func() time.Duration) string {
	if uptime == nil || uptime() == 0 {
		return ""
	}
	return ", the machine is up for " + span(uptime())
}

// problemText is an error on one line, without what only programs read.
func problemText(err error) string {
	var exit *exitError
	if errors.As(err, &exit) && exit.err != nil {
		err = exit.err
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

var levelMarks = map[level]string{levelOK: "ok", levelNote: "note", levelBroken: "BROKEN"}

func (a *app) printExaminations(checks []examination) {
	color := isTerminal(a.stdout) && a.color()
	codes := map[level]string{levelOK: "32", levelNote: "33", levelBroken: "31"}
	broken, notes := 0, 0
	for _, c := range checks {
		for i, f := range c.Findings {
			name := c.Name
			if i > 0 {
				name = ""
			}
			mark := fmt.Sprintf("%-6s", levelMarks[f.Level])
			if color {
				mark = "\x1b[" + codes[f.Level] + "m" + mark + "\x1b[0m"
			}
			fmt.Fprintf(a.stdout, "%-13s  %s  %s\n", name, mark, plain(f.Text))
			if f.Remedy != "" {
				fmt.Fprintf(a.stdout, "%-13s          → %s\n", "", plain(f.Remedy))
			}
			switch f.Level {
			case levelBroken:
				broken++
			case levelNote:
				notes++
			}
		}
	}
	fmt.Fprintf(a.stdout, "\n%d broken, %d to note\n", broken, notes)
}
