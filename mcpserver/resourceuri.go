package mcpserver

import (
	"strconv"
	"strings"

	"example.com/loop-mcp/loops"
)

// The addresses of the resources.
const (
	recentURI          = "loops://recent"
	loopTemplate       = "loop://{id}"
	iterationTemplate  = "loop://{id}/iterations/{n}"
	transcriptTemplate = "loop://{id}/transcript"
)

// resourceKind is one of the four kinds of resources.
type resourceKind string

const (
	kindRecent     resourceKind = "recent"
	kindLoop       resourceKind = "loop"
	kindIteration  resourceKind = "iteration"
	kindTranscript resourceKind = "transcript"
)

// resource is what a URI names.
type resource struct {
	kind      resourceKind
	id        loops.ID // but for kindRecent
	iteration int      // for kindIteration
}

// parseURI reads the address of a resource. There is one spelling of each: an
// id is never a path, so nothing is decoded, folded or cleaned.
func parseURI(uri string) (resource, bool) {
	if uri == recentURI {
		return resource{kind: kindRecent}, true
	}
	rest, ok := strings.CutPrefix(uri, "loop://")
	if !ok {
		return resource{}, false
	}
	id, rest, more := strings.Cut(rest, "/")
	r := resource{kind: kindLoop, id: loops.ID(id)}
	if !loops.ValidID(r.id) {
		return resource{}, false
	}
	switch {
	case !more:
		return r, true
	case rest == "transcript":
		r.kind = kindTranscript
		return r, true
	}
	digits, ok := strings.CutPrefix(rest, "iterations/")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || strconv.Itoa(n) != digits {
		return resource{}, false
	}
	r.kind, r.iteration = kindIteration, n
	return r, true
}

// String is the URI of r.
func (r resource) String() string {
	switch r.kind {
	case kindRecent:
		return recentURI
	case kindIteration:
		return loopURI(r.id) + "/iterations/" + itoa(r.iteration)
	case kindTranscript:
		return loopURI(r.id) + "/transcript"
	}
	return loopURI(r.id)
}

func loopURI(id loops.ID) string { return "loop://" + string(id) }
