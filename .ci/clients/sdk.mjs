// The official TypeScript SDKs, version 1 and 2, drive a loop from start to
// result. Exits with 1 and a sentence when anything is not as it should be.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
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
    ['loop_approve', 'loop_cancel', 'loop_continue', 'loop_inspect', 'loop_list', 'loop_pause', 'loop_start', 'loop_wait']);
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
  assert.equal(list.items[0].loop_id, s.loop_id);

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

async function v1() {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
  const h = home();
  const client = new Client({ name: 'sdk-v1', version: '1' });
  await client.connect(new StdioClientTransport({ command: server, env: h.env, stderr: 'inherit' }));
  try {
    await drive(client, 'TypeScript SDK v1');
    await progress(client, 'TypeScript SDK v1', (request, onprogress) => client.callTool(request, undefined, { onprogress }));
  } finally {
    await client.close();
    h.remove();
  }
}

async function v2(mode, name) {
  const { Client } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  const h = home();
  const client = new Client({ name: 'sdk-v2', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(new StdioClientTransport({ command: server, env: h.env, stderr: 'inherit' }));
  try {
    await drive(client, name);
    await progress(client, name, (request, onprogress) => client.callTool(request, { onprogress }));
  } finally {
    await client.close();
    h.remove();
  }
}

await v1();
await v2('legacy', 'TypeScript SDK v2, legacy era');
await v2('auto', 'TypeScript SDK v2, auto');
await v2({ pin: '2026-07-28' }, 'TypeScript SDK v2, 2026-07-28');
