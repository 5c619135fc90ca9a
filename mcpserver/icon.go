package mcpserver

import (
	"net/url"

	"github.com/mark3labs/mcp-go/mcp"
)

// drawing is an arrow that goes in a circle, in a colour for light and dark.
const drawing = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><path d='M20 12a8 8 0 1 1-3-6M18 2v4h-4' fill='none' stroke='teal' stroke-width='3'/></svg>`

// icon is the server's, and as small as can be: every answer of the modern era
// carries it. The tools have none of their own.
func icon() mcp.Icon { return mcp.Icon{Src: "data:image/svg+xml," + url.PathEscape(drawing)} }
