package mcptools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/command"
	"github.com/mark3labs/mcp-go/mcp"
)

// offered is a tool as its server describes it. mcp-go's own type would drop
// what it does not know of a schema.
type offered struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"inputSchema"`
	Annotations json.RawMessage `json:"annotations"`
}

const (
	maxPages = 1000
	maxTools = 10_000
)

// list asks for all pages of the server's tools. A tool that can't be read is
// left out; the others are of use.
func (c *conn) list(ctx context.Context) ([]offered, error) {
	var all []offered
	var request mcp.ListToolsRequest
	seen := map[string]bool{}
	for range maxPages {
		a, err := c.ask(ctx, func(ctx context.Context) error {
			_, err := c.client.ListToolsByPage(ctx, request)
			return err
		})
		result, ok := a.answered()
		if !ok {
			return nil, a.describe(err)
		}
		var page struct {
			Tools      []json.RawMessage `json:"tools"`
			NextCursor string            `json:"nextCursor"`
		}
		if err := json.Unmarshal(result, &page); err != nil {
			return nil, fmt.Errorf("its list of tools is not readable: %w", err)
		}
		for _, raw := range page.Tools {
			var tool offered
			if json.Unmarshal(raw, &tool) == nil && tool.Name != "" && !seen[tool.Name] {
				seen[tool.Name] = true
				all = append(all, tool)
			}
		}
		if len(all) > maxTools {
			return nil, fmt.Errorf("it lists more than %d tools", maxTools)
		}
		if page.NextCursor == "" {
			return all, nil
		}
		request.Params.Cursor = mcp.Cursor(page.NextCursor)
	}
	return nil, fmt.Errorf("its list of tools has more than %d pages", maxPages)
}

// toolNames gives each of a server's tools a name that every model takes. A name
// that has to be changed gets a part of its hash, so that it stays the same
// whatever else the server offers.
func toolNames(server string, tools []offered) map[string]string {
	names := make(map[string]string, len(tools)) // by the tool's own name
	taken := make(map[string]bool, len(tools))
	give := func(own, name string) {
		names[own], taken[name] = name, true
	}
	var rest []string
	for _, tool := range tools {
		if full := server + separator + tool.Name; plainName(full) == full {
			give(tool.Name, full)
		} else {
			rest = append(rest, tool.Name)
		}
	}
	slices.Sort(rest)
	for _, own := range rest {
		name := shortened(server+separator+own, "")
		for n := 1; taken[name]; n++ {
			name = shortened(server+separator+own, fmt.Sprint(n))
		}
		give(own, name)
	}
	return names
}

const maxName = 64

// plainName is full with other characters replaced, cut to maxName.
func plainName(full string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, full)
	return name[:min(len(name), maxName)]
}

func shortened(full, salt string) string {
	sum := sha256.Sum256([]byte(full + salt))
	mark := "_" + hex.EncodeToString(sum[:4])
	name := plainName(full)
	return name[:min(len(name), maxName-len(mark))] + mark
}

// route leads from the name that the model uses to the tool.
type route struct {
	server *server
	own    string
	names  []string // under which patterns know it
}

// describe makes the agent's view of a tool.
func (s Server) describe(name string, r route, t offered) agent.Tool {
	var hints struct {
		ReadOnlyHint    bool  `json:"readOnlyHint"`
		IdempotentHint  bool  `json:"idempotentHint"`
		DestructiveHint *bool `json:"destructiveHint"`
	}
	if json.Unmarshal(t.Annotations, &hints) != nil {
		hints.ReadOnlyHint, hints.IdempotentHint, hints.DestructiveHint = false, false, nil
	}
	says := func(list []string, hint bool) bool {
		switch parsePatterns(list).mean(r.names...) {
		case included:
			return true
		case excluded:
			return false
		}
		return hint
	}
	tool := agent.Tool{
		Name: name, Description: command.Clean(t.Description), Schema: schemaOf(t.InputSchema),
		ReadOnly: says(s.ReadOnly, hints.ReadOnlyHint), Idempotent: says(s.Idempotent, hints.IdempotentHint),
		Approve: says(s.Approve, false), Price: s.price(r.names),
	}
	tool.Destructive = !tool.ReadOnly && (hints.DestructiveHint == nil || *hints.DestructiveHint)
	return tool
}

// schemaOf is the schema without insignificant space; a tool without one takes
// any object.
func schemaOf(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil || !bytes.HasPrefix(b.Bytes(), []byte("{")) {
		return json.RawMessage(`{"type":"object"}`)
	}
	return b.Bytes()
}

// price is that of the exact name, else the highest of the patterns that match.
func (s Server) price(names []string) loops.USD {
	var highest loops.USD
	for glob, price := range s.PricePerCallUSD {
		if slices.Contains(names, glob) {
			return price
		}
		if slices.ContainsFunc(names, func(name string) bool { return matchGlob(glob, name) }) {
			highest = max(highest, price)
		}
	}
	return highest
}
