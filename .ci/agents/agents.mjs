// Real agents use the built server, with a scripted model on loopback in place
// of a provider. Exits with 1 and a sentence when a story ends otherwise than
// it should.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serve } from './model.mjs';

const server = process.env.LOOP_MCP;
const token = 'the-token-of-these-stories';
const platform = `${process.platform}-${process.arch}`;

const program = (pattern) => {
  const [found] = globSync(join(import.meta.dirname, 'node_modules', pattern));
  assert.ok(found, `${pattern} is not installed: make agents`);
  return found;
};

// The agents: how each is told of the server and the model, and asked.
const agents = {
  'Claude Code': {
    prepare(stage) {
      const loop = stage.url ? { type: 'http', url: stage.url, headers: { Authorization: `Bearer ${token}` } } : { command: server, env: stage.serverEnv };
      writeFileSync(join(stage.home, 'mcp.json'), JSON.stringify({ mcpServers: { loop } }));
    },
    command: (stage) => [program(`@anthropic-ai/claude-code-${platform}/claude`), '-p', 'Use the loop tools.', '--mcp-config', join(stage.home, 'mcp.json'),
      '--strict-mcp-config', '--allowedTools', 'mcp__loop', '--output-format', 'stream-json', '--verbose', '--model', 'claude-sonnet-4-5'],
    env: (stage) => ({ ANTHROPIC_BASE_URL: stage.model.url, ANTHROPIC_API_KEY: 'none', CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_TELEMETRY: '1', DISABLE_AUTOUPDATER: '1' }),
  },
  Codex: {
    prepare(stage) {
      const env = Object.entries(stage.serverEnv).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(', ');
      const loop = stage.url ? `url = ${JSON.stringify(stage.url)}\nbearer_token_env_var = "LOOP_TOKEN"` : `command = ${JSON.stringify(server)}\nenv = { ${env} }`;
      writeFileSync(join(stage.home, 'config.toml'), `
model = "gpt-scripted"
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[model_providers.scripted]
name = "scripted"
base_url = "${stage.model.url}/v1"
wire_api = "responses"
requires_openai_auth = false
[mcp_servers.loop]
${loop}
`);
    },
    command: () => [program(`@openai/codex-${platform}/vendor/*/bin/codex`), 'exec', '--skip-git-repo-check', '--json', 'Use the loop tools.'],
    env: (stage) => ({ CODEX_HOME: stage.home }),
  },
};

// A stage is a home with an empty store and an agent in front of a scripted model.
class Stage {
  constructor(agent) {
    this.agent = agents[agent];
    this.name = agent;
    this.home = realpathSync(mkdtempSync(join(tmpdir(), 'loop-mcp-agents-')));
    mkdirSync(join(this.home, 'config', 'loop-mcp'), { recursive: true });
    writeFileSync(join(this.home, 'config', 'loop-mcp', 'config.yaml'), `allow_commands: [sh]\nroots: [${JSON.stringify(this.home)}]\nhttp: { token_env: LOOP_TOKEN }\n`);
    this.serverEnv = { LOOP_MCP_HOME: join(this.home, 'state'), XDG_CONFIG_HOME: join(this.home, 'config') };
    this.env = { PATH: process.env.PATH, HOME: this.home, TMPDIR: this.home, ...this.serverEnv,
      HTTP_PROXY: 'http://127.0.0.1:9', HTTPS_PROXY: 'http://127.0.0.1:9', NO_PROXY: '127.0.0.1', LOOP_TOKEN: token };
  }

  async start(script) {
    this.model?.close();
    this.model = await serve(script);
    this.agent.prepare(this);
    const [file, ...args] = this.agent.command(this);
    const child = spawn(file, args, { cwd: this.home, env: { ...this.env, ...this.agent.env(this) }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    child.said = '';
    child.stdout.on('data', (d) => { child.said += d; });
    child.stderr.on('data', (d) => { child.said += d; });
    child.ended = once(child, 'close');
    return child;
  }

  // run has the agent follow the script to its last words, which it must pass on.
  async run(script) {
    const child = await this.start(script);
    const [code] = await this.ended(child);
    assert.equal(code, 0, `${this.name} ended with ${code}:\n${child.said.slice(-4000)}`);
    assert.ok(child.said.includes(lastWords), `${this.name} stopped early:\n${child.said.slice(-4000)}`);
  }

  // killed has the agent follow the script until the model never answers, and kills it then.
  async killed(script, all) {
    const child = await this.start(script);
    const ended = this.ended(child);
    const early = await Promise.race([this.model.hung.then(() => null), ended]);
    assert.equal(early, null, `${this.name} ended before it was killed:\n${child.said.slice(-4000)}`);
    process.kill(all ? -child.pid : child.pid, 'SIGKILL');
    await ended;
  }

  async ended(child) {
    const limit = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 120_000);
    const result = await child.ended;
    clearTimeout(limit);
    return result;
  }

  // overHTTP starts a server that the agents reach over HTTP.
  async overHTTP() {
    this.served = spawn(server, ['serve', '--http', '127.0.0.1:0'], { cwd: this.home, env: this.env, stdio: ['ignore', 'pipe', 'inherit'] });
    const [said] = await once(this.served.stdout, 'data');
    [this.url] = String(said).match(/http:[^ ,]*/);
  }

  // loop is what the command line says of a loop.
  loop(id) {
    const r = spawnSync(server, ['show', id, '--json'], { env: this.env, encoding: 'utf8' });
    assert.equal(r.status, 0, r.stderr);
    return JSON.parse(r.stdout);
  }

  async close() {
    this.model?.close();
    if (this.served?.kill('SIGTERM')) await once(this.served, 'exit');
    if (existsSync(this.home)) rmSync(this.home, { recursive: true, force: true });
  }
}


const lastWords = 'That is all I had to do.';

// steered is a loop whose command only finds the word when it is told so.
const steered = {
  name: 'steered', goal: 'Say ocean.',
  body: { kind: 'command', run: ['sh', '-c', 'grep -o ocean || echo hills'], stdin: '{{ steer }}' },
  until: { all: [{ kind: 'predicate', expression: "output.contains('ocean')" }] },
  limits: { max_passes: 500, max_iterations: 500 }, delay: '100ms',
};

// poem is a loop that the agent works on itself.
const poem = { name: 'poem', goal: 'Write a line about the ocean.', until: { all: [{ kind: 'predicate', expression: "output.contains('ocean')" }] } };

// good is an answer of a tool that is no error. The model is shown an error as plain text.
function good(answer, status) {
  if (answer?.loop_id === undefined && answer?.items === undefined) throw new Error(`a tool answered ${JSON.stringify(answer)}`);
  if (status && answer.status !== status) throw new Error(`the loop is ${answer.status}, not ${status}: ${answer.summary}`);
  return answer;
}

const stories = {
  async 'start, wait, steer, result'(stage) {
    let id;
    await stage.run(function* () {
      let s = good(yield { tool: 'loop_start', args: { ...steered, wait_seconds: 0 } });
      id = s.loop_id;
      while (s.iteration < 2) s = good(yield { tool: 'loop_wait', args: { loop_id: id, cursor: s.cursor, for: 'change', wait_seconds: 10 } });
      good(yield { tool: 'loop_continue', args: { loop_id: id, message: 'Think of the ocean.' } });
      s = good(yield { tool: 'loop_wait', args: { loop_id: id, for: 'settled', wait_seconds: 30 } }, 'completed');
      s = good(yield { tool: 'loop_inspect', args: { loop_id: id, view: 'output' } });
      assert.equal(s.items[0].text.trim(), 'ocean');
      return lastWords;
    });
    const s = stage.loop(id);
    assert.equal(s.stop.reason, 'goal.predicate');
    assert.ok(s.iteration > 2, 'the loop ran before it was steered');
  },

  async 'a loop that the agent works on, to its end'(stage) {
    let id;
    await stage.run(function* () {
      let s = good(yield { tool: 'loop_start', args: poem }, 'your_turn');
      id = s.loop_id;
      s = good(yield { tool: 'loop_continue', args: { loop_id: id, attention_id: s.attention.id, output: 'A line about hills.' } }, 'your_turn');
      good(yield { tool: 'loop_continue', args: { loop_id: id, attention_id: s.attention.id, output: 'The ocean hums.' } }, 'completed');
      return lastWords;
    });
    const s = stage.loop(id);
    assert.equal(s.usage.passes, 2);
    assert.match(s.output, /The ocean hums/);
  },

  async 'killed in the middle, a new one finishes'(stage) { await killedInTheMiddle(stage, true); },
  async 'killed without its server, a new one finishes'(stage) { await killedInTheMiddle(stage, false); },
};

async function killedInTheMiddle(stage, all) {
  await stage.killed(function* () {
    let s = good(yield { tool: 'loop_start', args: poem }, 'your_turn');
    good(yield { tool: 'loop_continue', args: { loop_id: s.loop_id, attention_id: s.attention.id, output: 'A line about hills.' } }, 'your_turn');
    s = good(yield { tool: 'loop_start', args: steered });
    good(yield { tool: 'loop_wait', args: { loop_id: s.loop_id, cursor: s.cursor, for: 'change', wait_seconds: 10 } });
    yield { hang: true };
  }, all);
  const found = {};
  await stage.run(function* () {
    for (const item of good(yield { tool: 'loop_list', args: {} }).items) found[item.name] = item.loop_id;
    good(yield { tool: 'loop_continue', args: { loop_id: found.steered, message: 'Think of the ocean.' } });
    good(yield { tool: 'loop_wait', args: { loop_id: found.steered, for: 'settled', wait_seconds: 30 } }, 'completed');
    const s = good(yield { tool: 'loop_wait', args: { loop_id: found.poem, wait_seconds: 5 } }, 'your_turn');
    good(yield { tool: 'loop_continue', args: { loop_id: found.poem, attention_id: s.attention.id, output: 'The ocean hums.' } }, 'completed');
    return lastWords;
  });
  assert.equal(stage.loop(found.poem).usage.passes, 2);
  assert.equal(stage.loop(found.steered).stop.reason, 'goal.predicate');
}

// told checks that the model was shown the server's instructions.
function told(stage) {
  assert.ok(stage.model.seen.some((r) => JSON.stringify(r.body).includes('Durable agent loops')), `${stage.name} did not show the model the instructions`);
}

const plays = [...Object.entries(stories).map((s) => [...s, false]), ...Object.entries(stories).slice(0, 3).map((s) => [...s, true])];
for (const agent of Object.keys(agents)) {
  for (const [name, story, http] of plays) {
    const stage = new Stage(agent);
    const began = Date.now();
    try {
      if (http) await stage.overHTTP();
      await story(stage);
      told(stage);
      console.log(`${agent}, ${http ? 'HTTP' : 'stdio'}: ${name}: ok (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } finally {
      await stage.close();
    }
  }
}
