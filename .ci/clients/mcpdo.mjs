// mcpdo, the Inspector's client for scripts, in both protocol eras: it keeps a
// connection while commands come and go, is asked by the server, watches
// resources and polls tasks. Exits with 1 and a sentence when anything is not
// as it should be.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const home = process.env.HOME; // of this step alone
const mcpdo = join(import.meta.dirname, 'node_modules/@modelcontextprotocol/inspector/clients/mcpdo/build/mcp-bin.js');
const server = process.env.LOOP_MCP;
const env = { ...process.env, MCP_INSPECTOR_SECRET_STORE: 'memory' };

// run is one command; its answer is JSON.
async function run(...args) {
  const { stdout } = await promisify(execFile)('node', [mcpdo, '--format', 'json', ...args], { cwd: home, env, timeout: 90_000, maxBuffer: 1 << 24 });
  return stdout.trim() ? JSON.parse(stdout) : {};
}

const call = (connection, tool, args) => run('--connection', connection, 'tools/call', tool, '--tool-args-json', JSON.stringify(args));

// facts is the answer of a tool, which must be no error.
function facts(answer) {
  assert.ok(answer.structuredContent && !answer.isError, `not a tool's answer: ${JSON.stringify(answer).slice(0, 600)}`);
  return answer.structuredContent;
}

// asked answers what the server asks the person, until there is a result.
async function asked(answer, ...fields) {
  let times = 0;
  for (; answer.elicitationPending; times++) {
    assert.match(answer.elicitationPending.message, /Is it fine\?/);
    answer = await run('elicitation/respond', answer.elicitationPending.elicitationId, ...fields);
  }
  return { facts: facts(answer), times };
}

// steered is a loop whose command finds the word only when it is told so.
const steered = {
  name: 'steered', goal: 'Say ocean.', delay: '200ms',
  body: { kind: 'command', run: ['sh', '-c', 'grep -o ocean || echo hills'], stdin: '{{ steer }}' },
  until: { all: [{ kind: 'predicate', expression: "output.contains('ocean')" }] },
  limits: { max_passes: 500, max_iterations: 500 },
};

async function elicitation(era) {
  let s = facts(await call(era, 'loop_start', { name: 'asks', goal: 'Say ok.', until: { all: [{ kind: 'human', question: 'Is it fine?' }] } }));
  const id = s.loop_id;
  let times = 0;
  for (const [tool, args] of [['loop_continue', { loop_id: id, attention_id: s.attention.id, output: 'ok' }], ['loop_wait', { loop_id: id, for: 'settled' }]]) {
    const answer = await asked(await call(era, tool, args), 'decision:=approve');
    times += answer.times;
    s = answer.facts;
  }
  assert.equal(s.status, 'completed', s.summary);
  assert.equal(s.stop.reason, 'goal.human');
  assert.equal(times, 1, `the person was asked ${times} times`);
  const { items } = facts(await call(era, 'loop_inspect', { loop_id: id, view: 'events' }));
  assert.match(JSON.stringify(items), /person/, 'it is not recorded that a person decided');
}

// subscription watches a loop while it is steered to its end.
async function subscription(era) {
  const s = facts(await call(era, 'loop_start', steered));
  const watch = spawn('node', [mcpdo, '--format', 'json', '--connection', era, 'resources/subscribe', `loop://${s.loop_id}`], { cwd: home, env, stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  watch.stdout.setEncoding('utf8');
  const seen = async (text) => {
    const late = setTimeout(() => watch.kill(), 30_000);
    for await (const part of watch.stdout.iterator({ destroyOnReturn: false })) {
      said += part;
      if (text.test(said)) break;
    }
    clearTimeout(late);
    assert.match(said, text);
  };
  await seen(/"subscribed"/);
  said = '';
  await seen(new RegExp(`updated[^]*loop://${s.loop_id}`));
  watch.kill();
  await once(watch, 'exit');
  facts(await call(era, 'loop_continue', { loop_id: s.loop_id, message: 'Think of the ocean.' }));
  assert.equal(facts(await call(era, 'loop_wait', { loop_id: s.loop_id, for: 'settled' })).status, 'completed');
  const read = await run('--connection', era, 'resources/read', `loop://${s.loop_id}`);
  assert.match(read.contents[0].text, /"status": ?"completed"/);
}

// tasks starts loops as tasks; one is steered to its end, one is cancelled. A
// connection does one thing at a time: what happens meanwhile is another's.
async function tasks(caller, watcher) {
  for (const [last, args, status] of [
    ['loop_continue', { message: 'Think of the ocean.' }, 'completed'],
    [null, null, 'cancelled'],
  ]) {
    const name = `task-${status}`;
    const running = call(caller, 'loop_start', { ...steered, name, wait_seconds: 600 });
    let found;
    while (!found) found = facts(await call(watcher, 'loop_list', {})).items.find((item) => item.name === name);
    assert.match(found.loop_id, /-[a-z2-7]{26}$/, 'the id of a task can be guessed');
    const task = await run('--connection', watcher, 'tasks/get', found.loop_id);
    assert.equal((task.task ?? task).status, 'working', JSON.stringify(task));
    if (last) facts(await call(watcher, last, { ...args, loop_id: found.loop_id }));
    else await run('--connection', watcher, 'tasks/cancel', found.loop_id);
    const answer = await running.catch((error) => error);
    if (status === 'completed') assert.equal(facts(answer).status, status);
    let now;
    do now = facts(await call(watcher, 'loop_wait', { loop_id: found.loop_id, for: 'settled' })); while (now.timed_out);
    assert.equal(now.status, status, now.summary);
    const ended = await run('--connection', watcher, 'tasks/get', found.loop_id);
    assert.equal((ended.task ?? ended).status, status, JSON.stringify(ended));
  }
}

writeFileSync(join(home, 'mcp.json'), JSON.stringify({ mcpServers: { legacy: { command: server }, modern: { command: server, protocolEra: 'modern' }, watcher: { command: server, protocolEra: 'modern' } } }));
await promisify(execFile)(server, ['allow', 'sh'], { env });
try {
  for (const era of ['legacy', 'modern']) {
    const { protocolEra } = await run('connect', era, '--config', join(home, 'mcp.json'));
    assert.equal(protocolEra, era);
    await elicitation(era);
    console.log(`mcpdo, ${era} era: a person was asked`);
    await subscription(era);
    console.log(`mcpdo, ${era} era: a loop was watched`);
  }
  await run('connect', 'watcher', '--config', join(home, 'mcp.json'));
  await tasks('modern', 'watcher');
  console.log('mcpdo, modern era: loops were tasks');
} finally {
  await run('daemon', 'stop');
}
