// Package streamhttp serves an mcp-go server over Streamable HTTP, in both protocol eras on one
// address. It owns the transport and nothing else; methods and schemas stay in
// [server.MCPServer.HandleMessage].
//
//	h := streamhttp.New(s, &streamhttp.Options{Tokens: map[string]string{"ci": token}})
//	err := h.Serve(ctx, listener) // or mount h, an http.Handler, and call h.Shutdown at the end
//
// The MCP endpoint is Options.Path, "/mcp" unless set otherwise.
package streamhttp
