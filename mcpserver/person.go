package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// reach says how the person at the client of a call can be asked.
type reach int

const (
	nobody  reach = iota // the client did not declare forms on this request
	during               // by a request to the client while the call goes on
	between              // by an answer that asks and the call once more, from 2026-07-28 on
)

// reachOf looks at what the request itself declares: what an earlier one did is
// another client's business.
func reachOf(ctx context.Context) reach {
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.Modern {
		if info.ClientCapabilities != nil && hasForms(info.ClientCapabilities.Elicitation) {
			return between
		}
		return nobody
	}
	s := server.ClientSessionFromContext(ctx)
	who, known := s.(server.SessionWithClientInfo)
	_, asks := s.(server.SessionWithElicitation)
	if known && asks && hasForms(who.GetClientCapabilities().Elicitation) {
		return during
	}
	return nobody
}

// hasForms reports whether forms are declared: by name, or as 2025-06-18 did,
// which knew nothing else.
func hasForms(c *mcp.ElicitationCapability) bool {
	return c != nil && (c.Form != nil || c.URL == nil)
}

// person is the one at the client of a call.
type person struct {
	reach  reach
	caller caller
	retry  mcp.MultiRoundTripParams // what a repeated call brings back

	attends bool                // waits of this call are interrupted by questions
	rounds  bool                // the call may be answered with a question: repeating it changes nothing
	round   *mcp.CallToolResult // that question

	heard  string // for the answer: what the person said, or why nobody did
	silent bool   // the last question got no answer
}

func newPerson(ctx context.Context, tool string, raw []byte, r mcp.CallToolRequest) *person {
	owner, _ := ctx.Value(ownerKey{}).(string)
	p := &person{reach: reachOf(ctx), caller: caller{tool: tool, owner: owner, args: raw}}
	if p.reach == between {
		p.retry = r.Params.MultiRoundTripParams
	}
	return p
}

// mustAsk reports whether the person is to be asked what the loop at s asks.
//
//go:noinline
func (p *person) mustAsk(s *loops.State) bool {
	can := p.reach == during || p.reach == between && p.rounds
	return p.attends && can && asks(*s)
}

// nobodyAnswered notes why a question came to nothing.
func (p *person) nobodyAnswered(why error) {
	p.silent, p.heard = true, fmt.Sprintf("The user was asked and nothing was recorded: %s. ", line(why.Error()))
}

// The causes that end a question.
var (
	errLate  = errors.New("nobody answered in time")
	errMoved = errors.New("the loop asks this no longer")
)

// formKey is the name of the one question in a round.
const formKey = "person"

// ask asks the person now, until the time is up or the loop at s does not ask
// that any more; see gets what happens to the loop meanwhile.
func (p *person) ask(ctx context.Context, e engineAPI, s loops.State, q mcp.ElicitationParams, until time.Time, see func(loops.Head)) (*mcp.ElicitationResult, error) {
	ctx, stop := context.WithDeadlineCause(ctx, until, errLate)
	defer stop()
	asking, end := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if s.Attention != nil && moves(asking, e, s, see) {
			end(errMoved)
		}
	}()
	result, err := server.ServerFromContext(ctx).RequestElicitation(asking, mcp.ElicitationRequest{Params: q})
	end(nil)
	<-watched
	return result, err
}

// moves waits until the loop does not ask what it asks at s; false: ctx ended
// before.
func moves(ctx context.Context, e engineAPI, s loops.State, see func(loops.Head)) bool {
	now := s
	for now.Status == s.Status && now.Attention != nil && now.Attention.ID == s.Attention.ID {
		var err error
		if now, _, err = e.Wait(ctx, s.ID, now.Cursor, loops.ForChange, time.Hour, see); err != nil || ctx.Err() != nil {
			return false
		}
	}
	return true
}

// putOff makes the question the answer of this call. The client brings the
// person's answer with the same call again.
func (p *person) putOff(ctx context.Context, e engineAPI, id loops.ID, about string, q mcp.ElicitationParams) error {
	key, err := e.Key(ctx, stateKey)
	if err != nil {
		return err
	}
	q.Mode = mcp.ElicitationModeForm
	state := stateOf(key, p.caller, asked{Loop: id, About: about, Until: time.Now().Add(stateLife).Unix()})
	p.round = server.NewInputRequestBuilder(state).Elicit(formKey, q).ToolResult()
	return nil
}

// brought returns what the client brought back for the question about, if this
// call is a repeated one. A state that is not to be believed is an error, one
// about another question a nil result.
func (p *person) brought(ctx context.Context, e engineAPI, id loops.ID) (about string, result *mcp.ElicitationResult, err error) {
	if p.retry.RequestState == "" {
		return "", nil, nil // answers without a state belong to no question of ours
	}
	key, err := e.Key(ctx, stateKey)
	if err != nil {
		return "", nil, err
	}
	a, err := openState(key, p.caller, p.retry.RequestState, time.Now())
	if err == nil && a.Loop != id {
		err = errForged
	}
	if err != nil {
		return "", nil, p.invalidState(err)
	}
	response, ok := server.InputResponse(p.retry.InputResponses, formKey)
	if !ok {
		return "", nil, nil // not brought along: it is asked for again
	}
	if response.DecodeFor(mcp.MethodElicitationCreate) != nil || response.Elicitation == nil {
		response.Elicitation = &mcp.ElicitationResult{}
	}
	return a.About, response.Elicitation, nil
}

// requestID names the request that a repeated call leads to, so that the same
// answer, brought twice, is taken once. Empty for other calls.
func (p *person) requestID() string {
	if p.retry.RequestState == "" {
		return ""
	}
	return "asked-" + fingerprint(p.retry.RequestState)
}

// recorded reports whether this repeated call was carried out before: its answer
// got lost on the way, or somebody tries it again.
func (p *person) recorded(s loops.State) bool {
	id := p.requestID()
	known := id != "" && slices.ContainsFunc(s.Requests, func(h loops.Handled) bool { return h.ID == id })
	if known {
		p.heard = "The user's answer was recorded before; it counts once. "
	}
	return known
}

func (p *person) invalidState(err error) error {
	return &loops.RefusedError{Code: "invalid_request_state", Problem: err.Error(),
		Remedy: fmt.Sprintf("nothing was decided; call %s again without requestState and inputResponses to have the user asked anew", p.caller.tool)}
}
