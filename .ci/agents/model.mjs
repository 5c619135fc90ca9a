// A model on loopback that follows a script: the Messages API for Claude Code,
// the Responses API for Codex, both as streams. What it says next depends only
// on what it is shown, as with a real one: a repeated request gets the same
// answer.
import { createServer } from 'node:http';

// serve starts the model. script is a generator: it yields {tool, args} and is
// given what the tool answered; {hang: true} never answers; it returns the
// model's last words.
export async function serve(script) {
  const seen = [];
  let hang;
  const hung = new Promise((reached) => { hang = reached; });
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request) text += part;
    const body = text ? JSON.parse(text) : {};
    seen.push({ url: request.url, body });
    const speak = request.url.startsWith('/v1/messages?') || request.url === '/v1/messages' ? messages
      : request.url.startsWith('/v1/responses') ? responses : null;
    if (!speak || request.method !== 'POST') {
      response.writeHead(404).end('{}');
      return;
    }
    let said = { text: 'Aside.' }; // a request without tools is a title or the like
    try {
      if (body.tools?.length) said = next(script, answers(body));
    } catch (error) {
      said = { text: `The script fails: ${error.message}` };
    }
    if (said.hang) return hang();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const event of speak(said)) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    response.end();
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    hung, // resolved when a request is left without an answer
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

// next replays the script with the answers so far.
function next(script, results) {
  const story = script();
  let step = story.next();
  for (const result of results) if (!step.done) step = story.next(result);
  return step.done ? { text: step.value } : step.value;
}

// answers returns what the tools answered so far, oldest first: the object that
// the model was shown, or its text where it is none.
function answers(body) {
  const texts = body.messages
    ? body.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : [])).filter((c) => c.type === 'tool_result').map((c) => c.content)
    : (body.input ?? []).filter((i) => i.type === 'function_call_output').map((i) => i.output);
  return texts.map(plain).map((text) => {
    const from = text.indexOf('{');
    try { return JSON.parse(text.slice(from, text.lastIndexOf('}') + 1)); } catch { return text; }
  });
}

const plain = (content) => (typeof content === 'string' ? content : (content ?? []).map((c) => c.text ?? '').join('\n'));

let calls = 0;

function* messages(said) {
  const block = said.text !== undefined ? { type: 'text', text: '' }
    : { type: 'tool_use', id: `toolu_${++calls}`, name: `mcp__loop__${said.tool}`, input: {} };
  const delta = said.text !== undefined ? { type: 'text_delta', text: said.text }
    : { type: 'input_json_delta', partial_json: JSON.stringify(said.args) };
  yield { type: 'message_start', message: { id: `msg_${++calls}`, type: 'message', role: 'assistant', model: 'scripted', content: [],
    stop_reason: null, stop_sequence: null, usage: { input_tokens: 10, output_tokens: 1 } } };
  yield { type: 'content_block_start', index: 0, content_block: block };
  yield { type: 'content_block_delta', index: 0, delta };
  yield { type: 'content_block_stop', index: 0 };
  yield { type: 'message_delta', delta: { stop_reason: said.text !== undefined ? 'end_turn' : 'tool_use', stop_sequence: null }, usage: { output_tokens: 10 } };
  yield { type: 'message_stop' };
}

function* responses(said) {
  const id = `resp_${++calls}`;
  const item = said.text !== undefined
    ? { type: 'message', id: `msg_${calls}`, role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: said.text, annotations: [] }] }
    : { type: 'function_call', id: `fc_${calls}`, call_id: `call_${calls}`, status: 'completed',
      namespace: 'mcp__loop', name: said.tool, arguments: JSON.stringify(said.args) };
  yield { type: 'response.created', response: { id, object: 'response', status: 'in_progress', output: [] } };
  yield { type: 'response.output_item.added', output_index: 0, item };
  yield { type: 'response.output_item.done', output_index: 0, item };
  yield { type: 'response.completed', response: { id, object: 'response', status: 'completed', output: [item],
    usage: { input_tokens: 10, output_tokens: 10, total_tokens: 20 } } };
}
