package judge

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"example.com/loop-mcp/loops"
)

// Outcome is what a model made of a case.
type Outcome struct {
	Name   string      `json:"name"`
	Theme  string      `json:"theme"`
	Truth  string      `json:"truth"`
	Got    string      `json:"got,omitempty"` // done, continue, impossible or error; empty: not judged
	Reason string      `json:"reason,omitempty"`
	Calls  int         `json:"calls"`
	Usage  loops.Usage `json:"usage"`
}

const gotError = "error"

// Right reports whether the verdict is the true one.
func (o Outcome) Right() bool { return o.Got == o.Truth }

// FalseDone reports the mistake that costs most: done that is not.
func (o Outcome) FalseDone() bool { return o.Got == saysDone && o.Truth != saysDone }

// FalseNotDone reports that work that is done was not seen as such.
func (o Outcome) FalseNotDone() bool {
	return o.Truth == saysDone && (o.Got == saysContinue || o.Got == saysImpossible)
}

// FalseImpossible reports that work was given up that could go on.
func (o Outcome) FalseImpossible() bool { return o.Got == saysImpossible && o.Truth == saysContinue }

// Rate is how often something happened. Of counts only cases with a verdict.
type Rate struct {
	Count int     `json:"count"`
	Of    int     `json:"of"`
	Share float64 `json:"share"`
}

func (r *Rate) add(happened bool) {
	r.Of++
	if happened {
		r.Count++
	}
	r.Share = float64(r.Count) / float64(r.Of)
}

func (r Rate) String() string {
	if r.Of == 0 {
		return "none judged"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", r.Count, r.Of, 100*r.Share)
}

// Report is what [Evaluate] measured.
type Report struct {
	Model           string      `json:"model"`            // its name in the configuration
	IDs             []string    `json:"ids"`              // provider and model, the fallbacks after it
	PromptHash      string      `json:"prompt_hash"`      // of the fixed text that it was asked with
	Judged          int         `json:"judged"`           // cases with a verdict
	Errors          int         `json:"errors"`           // cases without one, although it was asked
	FalseDone       Rate        `json:"false_done"`       // of the cases that are not done
	FalseNotDone    Rate        `json:"false_not_done"`   // of those that are
	FalseImpossible Rate        `json:"false_impossible"` // of those that can go on
	Calls           int         `json:"calls"`
	Usage           loops.Usage `json:"usage"`
	Stopped         string      `json:"stopped,omitempty"` // why not all cases were judged
	Capped          bool        `json:"capped,omitempty"`  // it stopped at the limit on money
	Outcomes        []Outcome   `json:"outcomes"`
}

func (r *Report) sum(p *purse) {
	r.Calls, r.Usage = p.calls, p.spent
	for _, o := range r.Outcomes {
		switch o.Got {
		case "":
			continue
		case gotError:
			r.Errors++
			continue
		}
		r.Judged++
		switch o.Truth {
		case saysDone:
			r.FalseNotDone.add(o.FalseNotDone())
		case saysContinue:
			r.FalseImpossible.add(o.FalseImpossible())
			fallthrough
		default:
			r.FalseDone.add(o.FalseDone())
		}
	}
}

// WriteText writes the report as a table for people, the mistakes with their
// reasons.
func (r Report) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CASE\tTRUTH\tVERDICT\tCALLS\tTOKENS\tCOST\t")
	for _, o := range r.Outcomes {
		got := o.Got
		if got == "" {
			got = "not judged"
		}
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%d\t%d\t%s\t%s\n", o.Theme, o.Name, o.Truth, got, o.Calls, o.Usage.TotalTokens, o.Usage.CostUSD, o.mistake())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, r.summary())
	return err
}

func (o Outcome) mistake() string {
	switch {
	case o.FalseDone():
		return "FALSE DONE"
	case o.FalseNotDone():
		return "false not-done"
	case o.FalseImpossible():
		return "false impossible"
	case o.Got == gotError:
		return "error"
	}
	return ""
}

func (r Report) summary() string {
	var b strings.Builder
	for _, o := range r.Outcomes {
		if what := o.mistake(); what != "" {
			fmt.Fprintf(&b, "\n%s: %s: %s", what, o.Name, oneLine(o.Reason))
		}
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%s (%s), prompt %s\n", r.Model, strings.Join(r.IDs, ", "), r.PromptHash)
	fmt.Fprintf(&b, "false done        %s\nfalse not-done    %s\nfalse impossible  %s\n", r.FalseDone, r.FalseNotDone, r.FalseImpossible)
	fmt.Fprintf(&b, "errors            %d\n%d of %d cases judged in %d calls: %d tokens, %s\n", r.Errors, r.Judged, len(r.Outcomes), r.Calls, r.Usage.TotalTokens, r.Usage.CostUSD)
	if r.Stopped != "" {
		fmt.Fprintf(&b, "stopped early: %s\n", r.Stopped)
	}
	return b.String()
}
