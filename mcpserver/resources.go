package mcpserver

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// resourcesPage is how many loops a page of resources/list has.
const resourcesPage = 50

const jsonType = "application/json"

// errNoLoops is why there is no engine to look at: nobody has started a loop
// here, and looking makes no store.
var errNoLoops = errors.New("there are no loops yet")

// peek is engine for those who only look. It returns errNoLoops where there is
// no store, and makes none.
func (t *tools) peek(ctx context.Context) (engineAPI, error) {
	if t.opts.HasStore != nil && !t.isOpen(ctx) {
		has, err := t.opts.HasStore()
		if err != nil {
			return nil, &openError{err: err}
		}
		if !has {
			return nil, errNoLoops
		}
	}
	return t.engine(ctx)
}

// isOpen reports whether there is an engine already.
func (t *tools) isOpen(ctx context.Context) bool {
	select {
	case t.opening <- struct{}{}:
		defer func() { <-t.opening }()
		return t.opened != nil
	case <-ctx.Done():
		return false
	}
}

// offerResources registers what can be read without a tool.
func (t *tools) offerResources(s *server.MCPServer, hooks *server.Hooks) {
	s.AddResource(recentResource(), t.readResource)
	read := server.ResourceTemplateHandlerFunc(t.readResource)
	s.AddResourceTemplates(
		server.ServerResourceTemplate{Handler: read, Template: template(loopTemplate, "loop", "A loop",
			"How a loop stands: status, limits, what it spent, last output and verdict, and the call that makes sense now")},
		server.ServerResourceTemplate{Handler: read, Template: template(iterationTemplate, "iteration", "An iteration of a loop",
			"The record of one committed iteration: output, score, usage and verdict")},
		server.ServerResourceTemplate{Handler: read, Template: template(transcriptTemplate, "transcript", "The transcript of a loop",
			"What was said, iteration by iteration: the worker's conversation and tools, or what it was told and handed in")},
	)
	hooks.AddBeforeReadResource(t.checkURI)
	hooks.AddBeforeListResources(func(ctx context.Context, _ any, r *mcp.ListResourcesRequest) { t.checkCursor(ctx, r.Params.Cursor) })
	hooks.AddAfterListResources(t.listResources)
}

func recentResource() mcp.Resource {
	r := mcp.NewResource(recentURI, "recent", mcp.WithResourceTitle("Recent loops"), mcp.WithMIMEType(jsonType),
		mcp.WithResourceDescription("The loops that need somebody, then those that run, then those that ended, one line each"))
	r.Annotations = annotations(1, time.Time{})
	return r
}

func template(uri, name, title, text string) mcp.ResourceTemplate {
	t := mcp.NewResourceTemplate(uri, name, mcp.WithTemplateTitle(title), mcp.WithTemplateDescription(text), mcp.WithTemplateMIMEType(jsonType))
	t.Annotations = annotations(0.5, time.Time{})
	return t
}

func annotations(priority float64, modified time.Time) *mcp.Annotations {
	a := &mcp.Annotations{Audience: []mcp.Role{mcp.RoleUser, mcp.RoleAssistant}, Priority: &priority}
	if !modified.IsZero() {
		a.LastModified = stamp(modified).Format(time.RFC3339)
	}
	return a
}

// listResources puts the loops behind what mcp-go lists. Its cursors are
// base64, so ours are: what is not, it refuses.
func (t *tools) listResources(ctx context.Context, _ any, r *mcp.ListResourcesRequest, result *mcp.ListResourcesResult) {
	result.Resources, result.NextCursor = []mcp.Resource{}, ""
	if r.Params.Cursor == "" {
		result.Resources = append(result.Resources, recentResource())
	}
	heads, next, err := t.loopsPage(ctx, r.Params.Cursor)
	if err != nil {
		_ = t.fail(ctx, "list the resources", err, nil) // a hook returns nothing
		return
	}
	for i := range heads {
		result.Resources = append(result.Resources, loopResource(&heads[i]))
	}
	result.NextCursor = next
}

// checkCursor says in our words what mcp-go refuses in its own.
func (t *tools) checkCursor(ctx context.Context, cursor mcp.Cursor) {
	if _, err := base64.StdEncoding.DecodeString(string(cursor)); err != nil {
		_ = t.fail(ctx, "list", badCursor(cursor), nil) // a hook returns nothing
	}
}

func (t *tools) loopsPage(ctx context.Context, cursor mcp.Cursor) ([]loops.Head, mcp.Cursor, error) {
	page, err := base64.StdEncoding.DecodeString(string(cursor))
	if err != nil {
		return nil, "", badCursor(cursor)
	}
	e, err := t.peek(ctx)
	if errors.Is(err, errNoLoops) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	t.hub.ready(ctx)
	heads, next, err := e.List(ctx, loops.Filter{Limit: resourcesPage, Page: string(page)})
	if len(loops.FieldErrors(err)) > 0 {
		return nil, "", badCursor(cursor)
	}
	return heads, mcp.Cursor(base64.StdEncoding.EncodeToString([]byte(next))), err
}

func badCursor(cursor mcp.Cursor) error {
	return &loops.FieldError{Field: "cursor", Problem: fmt.Sprintf("must be nextCursor of an earlier answer, got %q; leave it out for the first page", clip(string(cursor), 60))}
}

func loopResource(h *loops.Head) mcp.Resource {
	r := mcp.NewResource(loopURI(h.ID), string(h.ID), mcp.WithMIMEType(jsonType),
		mcp.WithResourceTitle(fmt.Sprintf("%s · %s", h.Name, h.Status)), mcp.WithResourceDescription(clip(h.Summary, maxListSummary)))
	priority := 0.6
	switch {
	case wantsSomebody(h.Status):
		priority = 0.9
	case h.Status.Settled():
		priority = 0.3
	}
	r.Annotations = annotations(priority, h.UpdatedAt)
	return r
}

func wantsSomebody(s loops.Status) bool {
	return s == loops.YourTurn || s == loops.NeedsInput || s == loops.Paused
}

// unknownResourceError is a URI that names nothing.
type unknownResourceError struct{ uri string }

func (e *unknownResourceError) Unwrap() error { return loops.ErrNotFound }
func (e *unknownResourceError) Error() string {
	return fmt.Sprintf("no resource %q; there are %s, %s, %s and %s, where id is one of loop_list and n counts from 1",
		clip(e.uri, maxLine), recentURI, loopTemplate, iterationTemplate, transcriptTemplate)
}

// checkURI refuses what mcp-go would look up as a template in its own way.
func (t *tools) checkURI(ctx context.Context, _ any, r *mcp.ReadResourceRequest) {
	if _, ok := parseURI(r.Params.URI); !ok {
		_ = t.failURI(ctx, r.Params.URI, &unknownResourceError{r.Params.URI}) // a hook returns nothing
		r.Params.URI = clip(r.Params.URI, maxLine)                            // matching a megabyte takes seconds
	}
}

func (t *tools) failURI(ctx context.Context, uri string, err error) error {
	if uri == "" {
		err = &loops.FieldError{Field: "uri", Problem: "is missing; resources/list has some"}
	}
	return t.fail(ctx, "read the resource", err, map[string]any{"uri": clip(uri, maxShort)})
}

func (t *tools) readResource(ctx context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	uri := r.Params.URI
	content, err := t.content(ctx, uri)
	if err != nil {
		return nil, t.failURI(ctx, uri, err)
	}
	text, err := encode(content)
	if err != nil {
		return nil, t.failURI(ctx, uri, err)
	}
	return []mcp.ResourceContents{mcp.TextResourceContents{URI: uri, MIMEType: jsonType, Text: string(text)}}, nil
}
