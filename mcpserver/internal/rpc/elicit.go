package rpc

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// Elicit asks the person at a client with those capabilities. mcp-go would ask any client; one that
// did not declare the mode of r gets [server.ErrElicitationNotSupported] here, and is sent nothing.
func (a *Asks) Elicit(ctx context.Context, caps mcp.ClientCapabilities, r mcp.ElicitationRequest, send Send) (*mcp.ElicitationResult, error) {
	if !declares(caps.Elicitation, r.Params.Mode) {
		return nil, server.ErrElicitationNotSupported
	}
	raw, err := a.Ask(ctx, string(mcp.MethodElicitationCreate), r.Params, send)
	if err != nil {
		return nil, err
	}
	var result mcp.ElicitationResult
	if err := json.Unmarshal(raw, &result); err != nil {
		return nil, fmt.Errorf("the client's response is no result of %s: %w", mcp.MethodElicitationCreate, err)
	}
	switch result.Action {
	case mcp.ElicitationResponseActionAccept, mcp.ElicitationResponseActionDecline, mcp.ElicitationResponseActionCancel:
		return &result, nil
	}
	return nil, fmt.Errorf("the client's response has the action %.40q, which is not accept, decline or cancel", result.Action)
}

// declares reports whether a client has a mode. One that names no mode has forms.
func declares(c *mcp.ElicitationCapability, mode string) bool {
	switch {
	case c == nil:
		return false
	case mode == mcp.ElicitationModeURL:
		return c.URL != nil
	}
	return c.Form != nil || c.URL == nil
}
