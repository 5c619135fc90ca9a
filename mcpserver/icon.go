package mcpserver

import (
	"encoding/base64"

	"github.com/mark3labs/mcp-go/mcp"
)

// drawing is an arrow that goes in a circle, in a colour for light and dark.
const drawing = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#0b8a6f" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"><path d="M20 12a8 8 0 1 1-2.6-5.9M18 2v4.5h-4.5"/></svg>`

// icon is the server's. The tools have none of their own: nine copies would take
// more bytes than all that is said about them.
func icon() mcp.Icon {
	return mcp.Icon{Src: "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte(drawing)), MIMEType: "image/svg+xml", Sizes: []string{"any"}}
}
