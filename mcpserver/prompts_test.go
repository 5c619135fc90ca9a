package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// folder is a set of loop files that change.
type folder struct {
	mu    sync.Mutex
	files []FoundFile
	err   error
	reads int
}

func (f *folder) set(err error, files ...FoundFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files, f.err = files, err
}

func (f *folder) List(context.Context) ([]FoundFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return slices.Clone(f.files), f.err
}

func (f *folder) Find(_ context.Context, name string) (FoundFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.files {
		if one.Name == name {
			return one, nil
		}
	}
	return FoundFile{}, &loops.FieldError{Field: "loop_file", Problem: fmt.Sprintf("there is no loop file %s in .loops", name)}
}

// fixBuild is a loop file with inputs of all sorts.
func fixBuild() FoundFile {
	return FoundFile{Name: "fix-build", Dir: "/work", Path: "/work/.loops/fix-build.loop.yaml", Trusted: true, Spec: loops.Spec{
		Name: "fix-build", Description: "Fix the build until\nits own check is green", Goal: "Make go test {{ inputs.package }} succeed",
		Inputs: map[string]loops.Input{
			"package": {Type: "string", Pattern: `\./[a-z/.]*`, Default: "./...", Help: "What to build"},
			"who":     {Type: "string", Required: true, Help: "Whose build it is"},
			"level":   {Choices: []any{"low", "long", "high"}},
			"deep":    {Type: "boolean"},
			"tries":   {Type: "integer", Default: 3.0},
		},
		Body:   loops.BodySpec{Kind: loops.BodyCommand, Run: []string{"claude", "-p"}},
		Until:  &loops.Until{All: []loops.Condition{{Kind: "command", Run: []string{"go", "test", "{{ inputs.package }}"}}, {Not: &loops.Condition{Kind: "predicate", Expression: `output == ""`}}}},
		Limits: loops.Limits{MaxPasses: 7},
	}}
}

// TestPromptsOnTheWire pins the prompts as a client of each era gets them.
func TestPromptsOnTheWire(t *testing.T) {
	for _, era := range []string{"legacy", "modern"} {
		t.Run(era, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, loopstest.Script(loopstest.Done("ok")), &Options{Files: &folder{files: []FoundFile{fixBuild()}}})
				w.startHandler("")
				synctest.Wait()
				p := dial(t, w.s, era == "modern")
				p.ask("prompts/list", `{}`)
				for _, params := range []string{
					`{"name":"loop","arguments":{"goal":"Write CHANGES.md"}}`,
					`{"name":"loop","arguments":{"goal":"Make it green","done_when":"go test ./...","worker":"command","limits":"5 passes, $1"}}`,
					`{"name":"loop_review","arguments":{"loop_id":"say-0001"}}`,
					`{"name":"fix-build","arguments":{"who":"Ann \"A\" <a@b>","deep":"true","tries":"5","level":"","package":"./loops"}}`,
					`{"name":"fix-build","arguments":{"package":"rm -rf /","level":"lo","whom":"x"}}`,
				} {
					p.ask("prompts/get", params)
				}
				for _, arg := range []string{`{"name":"level","value":"lo"}`, `{"name":"deep","value":""}`, `{"name":"who","value":"A"}`} {
					p.ask("completion/complete", fmt.Sprintf(`{"ref":{"type":"ref/prompt","name":"fix-build"},"argument":%s}`, arg))
				}
				golden(t, "wire/prompts_"+era+".transcript", []byte(p.log.String()))
			})
		})
	}
}

// TestPromptsStartTheirFile: what a prompt tells the model to call is accepted.
func TestPromptsStartTheirFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fixBuild()
		f.Spec.Body, f.Spec.Until = loops.BodySpec{Kind: loops.BodyClient}, &loops.Until{All: []loops.Condition{{Kind: "human", Question: "good?"}}}
		w := newWorld(t, nil, &Options{Files: &folder{files: []FoundFile{f}}})
		p := dial(t, w.s, true)
		var got struct {
			Messages []struct{ Content struct{ Text string } }
		}
		p.read("prompts/get", `{"name":"fix-build","arguments":{"who":"Ann","deep":"false","tries":"5","level":"high"}}`, &got)
		text := got.Messages[0].Content.Text
		call := text[strings.Index(text, "{"):]
		call = call[:strings.Index(call, "\n")]
		want(t, "arguments", call, `{"loop_file":"fix-build","inputs":{"deep":false,"level":"high","tries":5,"who":"Ann"}}`)
		w.ok("loop_start", call)
	})
}

// TestPromptsThatAreRefused: each argument of each prompt, wrong.
func TestPromptsThatAreRefused(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		untrusted := fixBuild()
		untrusted.Name, untrusted.Trusted = "theirs", false
		w := newWorld(t, nil, &Options{Files: &folder{files: []FoundFile{fixBuild(), untrusted}}})
		p := dial(t, w.s, modern)
		long := strings.Repeat("x", loops.MaxGoalSize+1)
		for _, tt := range []struct {
			params string
			want   []string
		}{
			{`{"name":"loop"}`, []string{"goal: is missing"}},
			{`{"name":"loop","arguments":{"goal":" "}}`, []string{"goal: is missing"}},
			{`{"name":"loop","arguments":{"goal":"x","wroker":"client"}}`, []string{"wroker: is no argument", "did you mean worker?"}},
			{`{"name":"loop","arguments":{"goal":"x","worker":"robot"}}`, []string{"worker: must be one of client, command, agent"}},
			{`{"name":"loop","arguments":{"goal":"` + long + `"}}`, []string{"goal: is 65537 bytes"}},
			{`{"name":"loop","arguments":{"goal":"x","limits":"` + long + `"}}`, []string{"limits: is 65537 bytes"}},
			{`{"name":"loop","arguments":{"goal":7}}`, []string{"goal: must be a text, got 7"}},
			{`{"name":"loop","arguments":[]}`, []string{"arguments"}},
			{`{"name":"loop_review"}`, []string{"loop_id: is missing"}},
			{`{"name":"loop_review","arguments":{"loop_id":"../x"}}`, []string{"loop_id: must be an id"}},
			{`{"name":"loop_review","arguments":{"loop_id":"say-9999"}}`, []string{`no loop "say-9999"`}},
			{`{"name":"fix-build"}`, []string{"inputs.who: is missing: Whose build it is"}},
			{`{"name":"fix-build","arguments":{"who":""}}`, []string{"inputs.who: is missing"}},
			{`{"name":"fix-build","arguments":{"who":"A","tries":"many"}}`, []string{`inputs.tries: must be a whole number, got "many"`}},
			{`{"name":"fix-build","arguments":{"who":"A","deep":"perhaps"}}`, []string{"inputs.deep: must be true or false"}},
			{`{"name":"fix-build","arguments":{"who":"A","level":"lo"}}`, []string{"inputs.level: must be"}},
			{`{"name":"fix-build","arguments":{"who":"A","whom":""}}`, []string{"inputs.whom: no input of that name", "did you mean who?"}},
			{`{"name":"fix-build","arguments":{"who":"A","\u0000name":"loop"}}`, nil},
			{`{"name":"fix-bild"}`, []string{"no loop file fix-bild"}},
			{`{"name":"theirs"}`, []string{"not trusted", "loop-mcp trust"}},
			{`{"name":"../fix-build"}`, []string{"no prompt"}},
			{`{"name":"loop_file"}`, []string{"no prompt", "there are loop, loop_review, fix-build"}},
			{`{"name":""}`, []string{"no prompt"}},
			{`{}`, []string{"no prompt"}},
			{`{"name":7}`, nil},
			{`{"name":"` + long + `"}`, []string{"no prompt"}},
		} {
			if strings.Contains(tt.params, `u0000`) { // overwritten, not believed
				p.read("prompts/get", tt.params, &struct{}{})
				continue
			}
			a := p.refused(-32602, "prompts/get", tt.params, tt.want...)
			if len(a.Error.Message) > 4000 {
				t.Errorf("%.80s: an error of %d bytes", tt.params, len(a.Error.Message))
			}
		}
		p.refused(-32602, "prompts/list", `{"cursor":"%%%"}`, "cursor: must be nextCursor")
		p.refused(-32602, "prompts/list", `{"cursor":7}`)
	})
}

// TestCompletionsThatAreRefused: what is not there has nothing to complete, and
// what makes no sense is refused.
func TestCompletionsThatAreRefused(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, &Options{Files: &folder{files: []FoundFile{fixBuild()}}})
		p := dial(t, w.s, modern)
		for params, text := range map[string]string{
			`{"ref":{"type":"ref/resource","uri":"loop://x"},"argument":{"name":"id","value":""}}`:   "ref.uri: must be one of",
			`{"ref":{"type":"ref/resource","uri":"loop://{id}"},"argument":{"name":"n","value":""}}`: "argument.name: must be a variable of loop://{id}",
			`{"ref":{"type":"ref/resource","uri":"loop://{id}"},"argument":{"value":""}}`:            "argument.name",
			`{"ref":{"type":"ref/prompt","name":"loop"},"argument":{"name":"gaol","value":""}}`:      "did you mean goal?",
			`{"ref":{"type":"ref/prompt","name":"fix-build"},"argument":{"name":"","value":""}}`:     "is no argument of the prompt fix-build",
			`{"ref":{"type":"ref/elsewhere","name":"loop"},"argument":{"name":"goal","value":""}}`:   "",
			`{"argument":{"name":"goal","value":""}}`:                                                "",
			`{"ref":7,"argument":7}`: "",
		} {
			p.refused(-32602, "completion/complete", params, text)
		}
		for _, params := range []string{
			`{"ref":{"type":"ref/prompt","name":"gone"},"argument":{"name":"goal","value":""}}`,
			`{"ref":{"type":"ref/prompt","name":"loop"},"argument":{"name":"goal","value":"x"}}`,
			`{"ref":{"type":"ref/resource","uri":"loop://{id}/iterations/{n}"},"argument":{"name":"n","value":""}}`,
			`{"ref":{"type":"ref/resource","uri":"loop://{id}/iterations/{n}"},"argument":{"name":"n","value":""},"context":{"arguments":{"id":"../.."}}}`,
			`{"ref":{"type":"ref/resource","uri":"loop://{id}/iterations/{n}"},"argument":{"name":"n","value":""},"context":{"arguments":{"id":"say-9999"}}}`,
			`{"ref":{"type":"ref/resource","uri":"loop://{id}"},"argument":{"name":"id","value":"../../"}}`,
		} {
			var c struct{ Completion struct{ Values []string } }
			p.read("completion/complete", params, &c)
			if c.Completion.Values == nil || len(c.Completion.Values) > 0 {
				t.Errorf("%s: %v", params, c)
			}
		}
	})
}

// TestManyIdsToComplete: a hundred at most, the newest first, and how many there
// are.
func TestManyIdsToComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		draft := loops.Spec{Name: "draft", Goal: "write it", Body: loops.BodySpec{Kind: loops.BodyClient}, Until: &loops.Until{All: []loops.Condition{{Kind: "claim"}}}}
		for range 105 {
			if _, err := w.e.Start(t.Context(), loops.StartRequest{Spec: draft}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		w.startHandler("")
		p := dial(t, w.s, true)
		var c struct {
			Completion struct {
				Values  []string
				Total   int
				HasMore bool
			}
		}
		p.read("completion/complete", `{"ref":{"type":"ref/resource","uri":"loop://{id}/transcript"},"argument":{"name":"id","value":"Draft-"}}`, &c)
		want(t, "completion", fmt.Sprint(len(c.Completion.Values), c.Completion.Total, c.Completion.HasMore, c.Completion.Values[:2]), "100 105 true [draft-0105 draft-0104]")
		var seen []string
		for cursor := ""; ; {
			var page struct {
				Resources  []struct{ URI string }
				NextCursor string
			}
			p.read("resources/list", fmt.Sprintf(`{"cursor":%q}`, cursor), &page)
			for _, r := range page.Resources {
				seen = append(seen, r.URI)
			}
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		slices.Sort(seen)
		want(t, "resources on all pages", len(slices.Compact(seen)), 107)
		p.refused(-32602, "resources/list", `{"cursor":"x!"}`, "cursor: must be nextCursor of an earlier answer")
		p.refused(-32602, "resources/list", `{"cursor":"aGVsbG8="}`, "cursor: must be nextCursor of an earlier answer")
	})
}

// TestLoopFilesChange: the next look at the prompts shows it, and the others who
// know them are told.
func TestLoopFilesChange(t *testing.T) {
	const method = "notifications/prompts/list_changed"
	inEras(t, func(t *testing.T, modern bool) {
		var log logged
		f := &folder{}
		w := newWorld(t, nil, &Options{Files: f, Logger: slog.New(&log)})
		p, q := dial(t, w.s, modern), dial(t, w.s, modern)
		if modern {
			p.listen(`{"promptsListChanged":true}`)
		}
		names := func(p *peer) string {
			var list struct{ Prompts []struct{ Name string } }
			p.read("prompts/list", `{}`, &list)
			return fmt.Sprint(list.Prompts)
		}
		want(t, "folders read before anybody asked", f.reads, 0)
		want(t, "prompts", names(p), "[{loop} {loop_review}]")
		want(t, "prompts", names(q), "[{loop} {loop_review}]")
		time.Sleep(time.Minute)
		want(t, "told before anything changed", len(p.times(method)), 0)

		other := fixBuild()
		other.Name = "loop" // hidden by ours
		untrusted := fixBuild()
		untrusted.Name, untrusted.Trusted = "theirs", false
		dotted := fixBuild()
		dotted.Name = "a.b" // not for loop_start
		f.set(errors.New("broken: line 1: the YAML is broken"), fixBuild(), other, untrusted, dotted)
		want(t, "prompts", names(q), "[{fix-build} {loop} {loop_review}]")
		want(t, "prompts", names(q), "[{fix-build} {loop} {loop_review}]")
		want(t, "told", len(p.times(method)), 1)
		want(t, "lines about the broken file", log.count("broken: line 1"), 1)
		if !modern {
			want(t, "told who has just read them", len(q.times(method)), 0)
		}
		f.set(nil)
		p.refused(-32602, "prompts/get", `{"name":"fix-build"}`, "no loop file fix-build")
		want(t, "prompts", names(p), "[{loop} {loop_review}]")
		time.Sleep(time.Second)
		want(t, "told", len(q.times(method)), map[bool]int{false: 1}[modern])
		want(t, "watches of loops for prompts", w.opened, 0)
	})
}

// logged keeps what was logged.
type logged struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.lines = append(l.lines, line)
	return nil
}

func (l *logged) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		n += strings.Count(line, text)
	}
	return n
}
