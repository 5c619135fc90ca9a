package judge

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"example.com/loop-mcp/loops"
)

// Case is a judgement with a known answer: for measuring a model as a judge,
// and, with what a fooled or sloppy judge might answer, for testing the host's
// rules.
type Case struct {
	Name     string            `json:"name"`
	Theme    string            `json:"theme"` // which kind of mistake it provokes; the name of its file
	About    string            `json:"about,omitempty"`
	Goal     string            `json:"goal"`
	Question string            `json:"question,omitempty"`
	Criteria []loops.Criterion `json:"criteria,omitempty"`
	Output   Lines             `json:"output,omitempty"`
	Evidence []CaseLook        `json:"evidence,omitempty"` // none: the output alone

	// Truth is what a careful person would say: done, continue or impossible.
	Truth string `json:"truth"`
	// Answers are what a scripted judge says, call after call; the last one is
	// repeated. Expect is what the host must make of them, "error" for no
	// usable answer, and Calls how many it makes.
	Answers []Script `json:"answers,omitempty"`
	Expect  string   `json:"expect,omitempty"`
	Calls   int      `json:"calls,omitempty"`
}

// CaseLook is a piece of evidence as the host would have collected it.
type CaseLook struct {
	Kind    string   `json:"kind"`              // as in loops.Look
	Run     []string `json:"run,omitempty"`     // command
	Exit    int      `json:"exit,omitempty"`    // command
	Path    string   `json:"path,omitempty"`    // file
	Missing bool     `json:"missing,omitempty"` // file: not there
	Text    Lines    `json:"text,omitempty"`
}

// Lines is a text. In JSON it is a text, or a list of texts and of
// {"line": …, "times": …}, one line each.
type Lines string

// UnmarshalJSON implements [json.Unmarshaler].
func (l *Lines) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*l = Lines(text)
		return nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return fmt.Errorf("a text must be a text or a list of lines: %w", err)
	}
	var b strings.Builder
	for _, part := range parts {
		repeated := struct {
			Line  string `json:"line"`
			Times int    `json:"times"`
		}{Times: 1}
		if json.Unmarshal(part, &repeated.Line) != nil {
			if err := json.Unmarshal(part, &repeated); err != nil {
				return fmt.Errorf("a line must be a text or have line and times: %w", err)
			}
		}
		b.WriteString(strings.Repeat(repeated.Line+"\n", repeated.Times))
	}
	*l = Lines(b.String())
	return nil
}

// Script is one answer of a scripted judge. In JSON it is a text as it comes, or
// the object that the judge would write.
type Script string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Script) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	*s = Script(text)
	return nil
}

//go:embed corpus/*.json
var corpus embed.FS

// Corpus returns the cases that come with loop-mcp, sorted by file and place.
func Corpus() ([]Case, error) {
	files, err := fs.Glob(corpus, "corpus/*.json")
	if err != nil {
		return nil, err
	}
	var all []Case
	for _, name := range files {
		raw, err := corpus.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var cases []Case
		if err := json.Unmarshal(raw, &cases); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for i := range cases {
			cases[i].Theme = strings.TrimSuffix(path.Base(name), ".json")
		}
		all = append(all, cases...)
	}
	return all, nil
}

// brief is what the case asks.
func (c Case) brief(model string, votes int) (brief, error) {
	looks := make([]loops.Look, len(c.Evidence))
	for i, l := range c.Evidence {
		looks[i] = loops.Look{Kind: l.Kind, Run: l.Run, Path: l.Path}
	}
	raw, err := json.Marshal(loops.Condition{Kind: loops.StopJudge, Question: c.Question, Criteria: c.Criteria, Evidence: looks, Model: model, Votes: loops.Count(votes)})
	if err != nil {
		return brief{}, err
	}
	return decodeBrief(raw, c.Goal)
}

// items are the evidence as [Model.collect] would bring it.
func (c Case) items() []item {
	looks := c.Evidence
	if len(looks) == 0 {
		looks = []CaseLook{{Kind: loops.LookOutput}}
	}
	items := make([]item, len(looks))
	for i, l := range looks {
		items[i] = l.item(string(c.Output))
		items[i].ref, items[i].kind = fmt.Sprintf("E%d", i+1), l.Kind
	}
	return items
}

func (l CaseLook) item(output string) item {
	sum := digest(string(l.Text))
	switch {
	case l.Kind == loops.LookCommand:
		it := item{source: commandLine(l.Run), observed: true, facts: []string{fmt.Sprintf("exit code: %d", l.Exit)}, text: plain(string(l.Text)), hash: sum, stable: sum}
		if fold(it.text) == "" {
			it.facts = append(it.facts, "it printed nothing")
		}
		return it
	case l.Kind == loops.LookFile && l.Missing:
		return item{source: l.Path, observed: true, facts: []string{"the file does not exist"}, hash: sum, stable: sum}
	case l.Kind == loops.LookFile:
		it := fileItem([]byte(l.Text), nil, int64(len(l.Text)), sum)
		it.source = l.Path
		return it
	}
	return lookOutput(output)
}
