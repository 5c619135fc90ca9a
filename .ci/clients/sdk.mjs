// The official TypeScript SDKs, version 1 and 2, drive a loop from start to
// result, over stdio and HTTP. Exits with 1 and a sentence when anything is not
// as it should be.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const server = process.env.LOOP_MCP ?? './loop-mcp';

function home() {
  const dir = mkdtempSync(join(tmpdir(), 'loop-mcp-'));
  const env = { ...process.env, LOOP_MCP_HOME: join(dir, 'state'), XDG_CONFIG_HOME: join(dir, 'config') };
  return { env, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

function facts(result) {
  assert.ok(!result.isError, `tool error: ${result.content?.[0]?.text}`);
  assert.ok(result.structuredContent, 'no structuredContent');
  const text = result.content[0].text;
  const s = result.structuredContent;
  if (s.loop_id) {
    assert.ok(text.includes(s.loop_id), 'the text does not name the loop');
    assert.ok(!s.next || text.includes(s.next), 'the text does not tell what is next');
  }
  return s;
}

async function drive(client, name) {
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map((t) => t.name).sort(),
    ['loop_approve', 'loop_cancel', 'loop_continue', 'loop_fork', 'loop_inspect', 'loop_list', 'loop_pause', 'loop_start', 'loop_wait']);
  for (const t of tools) assert.ok(t.description && t.outputSchema && t.annotations, `${t.name} lacks a part`);

  const call = (tool, args, options) => client.callTool({ name: tool, arguments: args }, ...(options ?? []));
  let s = facts(await call('loop_start', {
    name: 'poem', goal: 'Write a line that has the word ocean in it.',
    until: { all: [{ kind: 'predicate', expression: "output.contains('ocean')" }] }, limits: { max_passes: 3 },
  }));
  assert.equal(s.status, 'your_turn');
  assert.equal(s.attention.id, 'it-1');
  s = facts(await call('loop_continue', { loop_id: s.loop_id, attention_id: 'it-1', output: 'A line about hills.' }));
  assert.equal(s.status, 'your_turn', `after the first pass: ${s.summary}`);
  assert.equal(s.verdict.met, false);
  s = facts(await call('loop_continue', { loop_id: s.loop_id, attention_id: s.attention.id, output: 'The ocean hums.' }));
  assert.equal(s.status, 'completed', s.summary);
  assert.equal(s.stop.reason, 'goal.predicate');
  s = facts(await call('loop_inspect', { loop_id: s.loop_id, view: 'iterations' }));
  assert.equal(s.items.length, 2);
  const list = facts(await call('loop_list', {}));
  assert.deepEqual(list.items.map((item) => item.loop_id), [s.loop_id], 'the list has loops of others');

  const wrong = await call('loop_start', { goal: 'x', limits: { max_passes: '3x' }, unitl: {} });
  assert.ok(wrong.isError, 'a wrong argument is not an error');
  assert.match(wrong.content[0].text, /max_passes.*3x/s);
  assert.match(wrong.content[0].text, /unitl.*until/s);
  console.log(`${name}: ok`);
}

async function progress(client, name, call) {
  const s = facts(await client.callTool({ name: 'loop_start', arguments: {
    name: 'wait', goal: 'Say done.', until: { all: [{ kind: 'human', question: 'Fine?' }] } } }));
  const seen = [];
  const waited = facts(await call({ name: 'loop_wait', arguments: { loop_id: s.loop_id, for: 'settled', wait_seconds: 11 } }, (p) => seen.push(p)));
  assert.equal(waited.timed_out, true);
  assert.ok(seen.length > 0, 'no progress within eleven seconds');
  assert.ok(seen.every((p, i) => i === 0 || p.progress > seen[i - 1].progress), 'progress does not rise');
  console.log(`${name}: ${seen.length} progress messages, rising`);
}

// visit drives a loop with a client, and watches another one.
async function visit(client, transport, name, call) {
  await client.connect(transport);
  try {
    await drive(client, name);
    await progress(client, name, call ?? ((request, onprogress) => client.callTool(request, { onprogress })));
  } finally {
    await client.close();
  }
}

async function v1(transport, name) {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const client = new Client({ name: 'sdk-v1', version: '1' });
  await visit(client, transport, name, (request, onprogress) => client.callTool(request, undefined, { onprogress }));
}

async function v2(transport, mode, name) {
  const { Client } = await import('@modelcontextprotocol/client');
  await visit(new Client({ name: 'sdk-v2', version: '1' }, { versionNegotiation: { mode } }), transport, name);
}

const modern = { pin: '2026-07-28' };

async function overStdio() {
  const { StdioClientTransport: V1 } = await import('@modelcontextprotocol/sdk/client/stdio.js');
  const { StdioClientTransport: V2 } = await import('@modelcontextprotocol/client/stdio');
  const dirs = [];
  const spawned = (Transport) => {
    const h = home();
    dirs.push(h);
    return new Transport({ command: server, env: h.env, stderr: 'inherit' });
  };
  await Promise.all([
    v1(spawned(V1), 'TypeScript SDK v1, stdio'),
    v2(spawned(V2), 'legacy', 'TypeScript SDK v2, stdio, legacy era'),
    v2(spawned(V2), 'auto', 'TypeScript SDK v2, stdio, auto'),
    v2(spawned(V2), modern, 'TypeScript SDK v2, stdio, 2026-07-28'),
  ]);
  for (const h of dirs) h.remove();
}

// overHTTP has one server for all, with a token of its own for each: what one
// started, the others don't see.
async function overHTTP() {
  const { StreamableHTTPClientTransport: V1 } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { StreamableHTTPClientTransport: V2 } = await import('@modelcontextprotocol/client');
  const h = home();
  const tokens = ['one', 'two', 'three', 'four'].map((owner) => [owner, `${owner}-token-of-these-tests`]);
  mkdirSync(join(h.env.XDG_CONFIG_HOME, 'loop-mcp'), { recursive: true });
  writeFileSync(join(h.env.XDG_CONFIG_HOME, 'loop-mcp', 'config.yaml'), 'http: { token_env: TOKENS }\n');
  const child = spawn(server, ['serve', '--http', '127.0.0.1:0'],
    { env: { ...h.env, TOKENS: tokens.map((t) => t.join('=')).join(',') }, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  try {
    const [said] = await once(child.stdout, 'data');
    const url = new URL(String(said).match(/http:[^ ,]*/)[0]);
    const transport = (Transport, n) => new Transport(url, { requestInit: { headers: { authorization: `Bearer ${tokens[n][1]}` } } });
    assert.equal((await fetch(url, { method: 'POST', body: '{}' })).status, 401, 'a request without a token is not refused');
    await Promise.all([
      v1(transport(V1, 0), 'TypeScript SDK v1, HTTP'),
      v2(transport(V2, 1), 'legacy', 'TypeScript SDK v2, HTTP, legacy era'),
      v2(transport(V2, 2), 'auto', 'TypeScript SDK v2, HTTP, auto'),
      v2(transport(V2, 3), modern, 'TypeScript SDK v2, HTTP, 2026-07-28'),
    ]);
  } finally {
    child.kill('SIGTERM');
    await ended;
    h.remove();
  }
}

await overStdio();
await overHTTP();
