package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
)

// request is what the layer reads of a message.
type request struct {
	id       json.RawMessage
	params   json.RawMessage
	caps     mcp.ClientCapabilities // of the client, as this request says
	declared bool                   // the extension is among them
}

// read parses a request. ok is false for one of an older protocol, or one that mcp-go refuses before
// it looks at the method: both are none of the layer's.
func read(msg json.RawMessage) (r request, ok bool) {
	var env struct {
		ID     json.RawMessage `json:"id"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(msg, &env) != nil || len(env.Params) == 0 {
		return request{}, false
	}
	var params struct {
		Meta *mcp.Meta `json:"_meta"`
	}
	if json.Unmarshal(env.Params, &params) != nil || params.Meta == nil {
		return request{}, false
	}
	version, caps := params.Meta.ProtocolVersion(), params.Meta.ClientCapabilities()
	if !mcp.IsModernProtocol(version) || !mcp.IsValidProtocolVersion(version) || caps == nil {
		return request{}, false
	}
	r = request{id: env.ID, params: env.Params, caps: *caps}
	_, r.declared = caps.Extensions[Extension].(map[string]any)
	return r, true
}

// maxID is the longest task id that a backend is asked for, in bytes.
const maxID = 256

// taskID reads params.taskId.
func (r request) taskID() (string, error) {
	var p struct {
		TaskID json.RawMessage `json:"taskId"`
	}
	if err := json.Unmarshal(r.params, &p); err != nil {
		return "", &ParamError{"taskId", "can't be read: " + err.Error()}
	}
	return readID("taskId", p.TaskID)
}

func readID(param string, raw json.RawMessage) (string, error) {
	var id *string
	switch {
	case len(raw) == 0:
		return "", &ParamError{param, "is missing: the taskId of the answer that created the task"}
	case json.Unmarshal(raw, &id) != nil || id == nil:
		return "", &ParamError{param, "must be a string: the taskId of the answer that created the task"}
	case *id == "" || len(*id) > maxID || !utf8.ValidString(*id):
		return "", ErrNotFound
	}
	return *id, nil
}

// maxResponses is how many responses one tasks/update may bring.
const maxResponses = 100

// responses reads params.inputResponses.
func (r request) responses() (map[string]json.RawMessage, error) {
	var p struct {
		Responses json.RawMessage `json:"inputResponses"`
	}
	if err := json.Unmarshal(r.params, &p); err != nil {
		return nil, &ParamError{"inputResponses", "can't be read: " + err.Error()}
	}
	var responses map[string]json.RawMessage
	switch {
	case len(p.Responses) == 0:
		return nil, &ParamError{"inputResponses", `is missing: an object such as {"KEY": {"action": "accept", "content": {…}}}, with the keys of inputRequests`}
	case json.Unmarshal(p.Responses, &responses) != nil || responses == nil:
		return nil, &ParamError{"inputResponses", "must be an object with the keys of inputRequests"}
	case len(responses) > maxResponses:
		return nil, &ParamError{"inputResponses", fmt.Sprintf("must have at most %d keys, got %d", maxResponses, len(responses))}
	}
	var problems []error
	for key, response := range responses {
		if len(response) == 0 || response[0] != '{' {
			problems = append(problems, &ParamError{"inputResponses." + clip(key), `must be an object such as {"action": "accept", "content": {…}}`})
		}
	}
	return responses, errors.Join(problems...)
}

// taskIDs reads params.notifications.taskIds, each id once. asked is false when there are none to
// read.
func (r request) taskIDs(limit int) (ids []string, asked bool, err error) {
	const param = "notifications.taskIds"
	var p struct {
		Notifications struct {
			TaskIDs json.RawMessage `json:"taskIds"`
		} `json:"notifications"`
	}
	if json.Unmarshal(r.params, &p) != nil || len(p.Notifications.TaskIDs) == 0 {
		return nil, false, nil //nolint:nilerr // what else is wrong is mcp-go's to say
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(p.Notifications.TaskIDs, &raw); err != nil {
		return nil, true, &ParamError{param, "must be a list of task ids"}
	}
	seen := map[string]bool{}
	for i, one := range raw {
		id, err := readID(fmt.Sprintf("%s[%d]", param, i), one)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, true, err
		}
		if err == nil && !seen[id] {
			seen[id], ids = true, append(ids, id)
		}
		if len(ids) > limit {
			return nil, true, &ParamError{param, fmt.Sprintf("at most %d tasks a stream; open another one for the rest, or ask for them with tasks/get", limit)}
		}
	}
	return ids, len(raw) > 0, nil
}

// clip shortens a text of the client's in a message to it.
func clip(text string) string {
	const limit = 60
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
