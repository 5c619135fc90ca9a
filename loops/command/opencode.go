package command

import (
	"encoding/json"
	"strings"
)

// opencodeEvent is the part of opencode run --format json that matters here.
type opencodeEvent struct {
	Type    string `json:"type"`
	Session string `json:"sessionID"`
	Part    struct {
		Text   string          `json:"text"`
		Cost   json.RawMessage `json:"cost"`
		Tokens struct {
			Input     count `json:"input"` // without cached ones
			Output    count `json:"output"`
			Reasoning count `json:"reasoning"`
			Cache     struct {
				Read  count `json:"read"`
				Write count `json:"write"`
			} `json:"cache"`
		} `json:"tokens"`
	} `json:"part"`
	Error struct {
		Name string `json:"name"`
		Data struct {
			Message   string `json:"message"`
			Status    int    `json:"statusCode"`
			Retryable bool   `json:"isRetryable"`
		} `json:"data"`
	} `json:"error"`
}

// opencodeRun adds up the steps of a run.
type opencodeRun struct {
	report
	sum      counts
	wrong    error // with the money
	begun    bool  // a step that has said nothing yet
	said     []string
	failure  *opencodeEvent
	finished bool
}

// readOpencode reads the events of one opencode run.
func readOpencode(stdout string) report {
	var run opencodeRun
	eventsOf(stdout, run.event)
	r, wrong := run.report, run.sum.err
	if wrong == nil {
		wrong = run.wrong
	}
	r.Output = strings.Join(run.said, "\n\n")
	if run.failure != nil && wrong == nil {
		run.failure.fail(&r)
		return r
	}
	r.ended(wrong, run.finished, "stdout has no finished step of opencode: run it as opencode run --format json")
	return r
}

func (run *opencodeRun) event(e opencodeEvent) {
	run.session = orElse(e.Session, run.session)
	switch e.Type {
	case "step_start":
		run.begun, run.failure = true, nil
	case "text":
		if run.begun {
			run.said, run.begun = nil, false
		}
		run.said = append(run.said, e.Part.Text)
	case "tool_use":
		run.Usage.ToolCalls++
	case "error":
		run.failure = &e
	case "step_finish":
		run.finished = true
		run.step(e)
	}
}

// step adds what one call of the model used.
func (run *opencodeRun) step(e opencodeEvent) {
	tokens := e.Part.Tokens
	run.Usage.InputTokens += run.sum.add("part.tokens.input", tokens.Input, tokens.Cache.Read, tokens.Cache.Write)
	run.Usage.OutputTokens += run.sum.add("part.tokens.output", tokens.Output, tokens.Reasoning)
	run.Usage.TotalTokens = run.Usage.InputTokens + run.Usage.OutputTokens
	cost, err := optionalMoney("part.cost", e.Part.Cost)
	if err != nil && run.wrong == nil {
		run.wrong = err
	}
	run.Usage.CostUSD += cost
}

func (e *opencodeEvent) fail(r *report) {
	data := e.Error.Data
	switch {
	case data.Status != 0:
		r.fault = faultOf(data.Status)
	case data.Retryable:
		r.fault = faultPassing
	case e.Error.Name == "ProviderAuthError":
		r.fault = faultDenied
	}
	r.reported("opencode reports " + orElse(e.Error.Name, "an error") + ": " + Tail(orElse(data.Message, "without a message"), feedbackTail))
}
