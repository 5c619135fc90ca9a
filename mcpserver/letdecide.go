package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// aboutLimits stands for an attention id in the state of a question about limits.
const aboutLimits = "limits"

// letDecide asks the person about what the agent wants. The person's word
// counts, whatever the agent said.
func (c *call) letDecide(ctx context.Context, e engineAPI, id loops.ID, wish loops.Request) (any, error) {
	s, err := c.tools.get(ctx, e, string(id))
	if err != nil {
		return nil, err
	}
	about, result, err := c.person.brought(ctx, e, id)
	if err != nil {
		return nil, err
	}
	if result != nil {
		if about != aboutOf(wish) {
			return nil, c.person.invalidState(errForged)
		}
		wish.RequestID = c.person.requestID()
	}
	if c.person.recorded(s) {
		return c.snapshot(e, s, SnapshotOptions{Limits: true}), nil
	}
	if err := s.Allows(wish); err != nil { // then the person need not be asked
		return nil, err
	}
	if result != nil {
		return c.decided(ctx, e, s, wish, result, nil)
	}
	q := c.wishQuestion(ctx, s, wish)
	if c.person.reach == between {
		if err := c.person.putOff(ctx, e, id, aboutOf(wish), q); err != nil {
			return nil, err
		}
		return c.person.round, nil
	}
	asked := s
	if wish.Action == loops.SetLimits {
		asked.Attention = nil // what the loop itself asks is another question
	}
	result, err = c.person.ask(ctx, e, asked, q, time.Now().Add(c.tools.opts.MaxWait), nil)
	if errors.Is(err, errMoved) {
		if s, err = c.tools.get(ctx, e, string(id)); err == nil {
			err = s.Allows(wish)
		}
	}
	return c.decided(ctx, e, s, wish, result, err)
}

func aboutOf(wish loops.Request) string {
	if wish.Action == loops.SetLimits {
		return aboutLimits
	}
	return wish.AttentionID
}

func (c *call) wishQuestion(ctx context.Context, s loops.State, wish loops.Request) mcp.ElicitationParams {
	if wish.Action == loops.SetLimits {
		return limitsQuestion(s, wish.Limits, wishText(clientName(ctx), wish))
	}
	q, _ := question(s, wishText(clientName(ctx), wish)) // it asks: the wish is allowed
	return q
}

// decided carries out what the person said, if it was something: err is why not.
func (c *call) decided(ctx context.Context, e engineAPI, s loops.State, wish loops.Request, result *mcp.ElicitationResult, err error) (any, error) {
	var word loops.Request
	if err == nil {
		word, err = decision(loops.AttentionApproval, result)
	}
	if ctx.Err() != nil && word.Action == "" {
		return nil, ctx.Err()
	}
	if _, refused := errors.AsType[*loops.RefusedError](err); refused {
		return nil, err
	}
	if err != nil {
		c.person.nobodyAnswered(err)
		return c.snapshot(e, s, SnapshotOptions{Limits: true}), nil
	}
	r := wish
	r.By = "person"
	c.person.heard = fmt.Sprintf("The user %s. ", said[word.Action])
	if wish.Action == loops.SetLimits {
		if word.Action == loops.Deny {
			return nil, notAgreed(word.Message)
		}
	} else if r.Action = word.Action; word.Message != "" || word.Action != wish.Action {
		r.Message = word.Message // else they agreed to the agent's, which the question showed
	}
	return c.decide(context.WithoutCancel(ctx), e, s.ID, r)
}

func notAgreed(message string) error {
	problem := "the user did not agree to change the limits"
	if message != "" {
		problem += ": " + line(message)
	}
	return &loops.RefusedError{Code: "not_agreed", Problem: problem, Remedy: "nothing was changed; ask the user what they want instead"}
}

// wishText tells the person what the agent in that client wants.
func wishText(client string, wish loops.Request) string {
	text := fmt.Sprintf("The agent in %s proposes: %s.", line(client), wish.Action)
	if wish.Action == loops.SetLimits {
		text = fmt.Sprintf("The agent in %s asks for this.", line(client))
	}
	if wish.Message != "" {
		text += "\n" + quoted(clip(wish.Message, maxWhy))
	}
	return text
}

func clientName(ctx context.Context) string {
	var info mcp.Implementation
	if modern := server.RequestProtocolInfoFromContext(ctx); modern != nil && modern.ClientInfo != nil {
		info = *modern.ClientInfo
	} else if s, ok := server.ClientSessionFromContext(ctx).(server.SessionWithClientInfo); ok {
		info = s.GetClientInfo()
	}
	return orElse(orElse(info.Title, info.Name), "this client")
}
