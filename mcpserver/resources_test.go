package mcpserver

import (
	"fmt"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops/loopstest"
)

// TestResourcesOnTheWire pins what a client of each era reads.
func TestResourcesOnTheWire(t *testing.T) {
	for _, era := range []string{"legacy", "modern"} {
		t.Run(era, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, loopstest.Script(loopstest.Done("no"), loopstest.Done("ok")), nil)
				p := dial(t, w.s, era == "modern")
				p.ask("resources/list", `{}`)
				w.startHandler("")
				w.startClient("")
				synctest.Wait()
				p.ask("resources/list", `{}`)
				p.ask("resources/templates/list", `{}`)
				for _, uri := range []string{"loops://recent", "loop://say-0001", "loop://say-0001/iterations/2", "loop://say-0001/iterations/3", "loop://say-0001/transcript", "loop://say-0009"} {
					p.ask("resources/read", fmt.Sprintf(`{"uri":%q}`, uri))
				}
				p.ask("completion/complete", `{"ref":{"type":"ref/resource","uri":"loop://{id}"},"argument":{"name":"id","value":"s"}}`)
				p.ask("completion/complete", `{"ref":{"type":"ref/resource","uri":"loop://{id}/iterations/{n}"},"argument":{"name":"n","value":""},"context":{"arguments":{"id":"say-0001"}}}`)
				golden(t, "wire/resources_"+era+".transcript", []byte(briefs.ReplaceAllString(p.log.String(), "${1}(the brief)$2")))
			})
		})
	}
}
