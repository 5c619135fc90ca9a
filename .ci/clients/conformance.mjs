// The official conformance suite: everything that the two revisions require,
// and the tasks extension, against the suite's fixtures on our transport, and
// what needs no fixtures against the shipped program. Every check must pass
// but those of conformance-expected.json, each with its reason; one of these
// that passes must be taken off the list.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const suite = 'node_modules/@modelcontextprotocol/conformance/dist/index.js';
const expected = JSON.parse(readFileSync('conformance-expected.json', 'utf8'));

// The scenarios that need nothing of the suite's in the server. Those that
// subscribe do: loop-mcp refuses a resource that it does not have.
const anyServer = {
  '2025-11-25': ['server-initialize', 'server-session-lifecycle', 'ping', 'tools-list', 'resources-list', 'prompts-list',
    'completion-complete', 'dns-rebinding-protection', 'server-sse-polling', 'server-sse-multiple-streams'],
  '2026-07-28': ['server-stateless', 'tools-list', 'resources-list', 'prompts-list', 'completion-complete', 'caching', 'http-header-validation',
    'sep-2164-resource-not-found', 'dns-rebinding-protection', 'server-sse-multiple-streams', 'input-required-result-unsupported-methods'],
};

const work = mkdtempSync(join(tmpdir(), 'loop-mcp-conformance-'));

// started runs a server and returns it with the URL that it prints.
async function started(command, args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const url = line.match(/http:\/\/127\.0\.0\.1:\d+\/mcp/)?.[0];
    if (url) return { child, url };
  }
  throw new Error(`${command} did not say where it listens`);
}

async function ended(server) {
  server.child.stdin.end();
  server.child.kill('SIGTERM');
  await once(server.child, 'exit');
}

// checked runs the suite and returns its checks, by scenario.
async function checked(server, url, revision) {
  const out = join(work, `${server}-${revision}`);
  const child = spawn('node', [suite, 'server', '--url', url, '--requirements', revision, '-o', out], { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(child, 'exit'); // its status counts what is expected, too
  const all = {};
  for (const folder of readdirSync(out)) {
    const scenario = folder.match(/^server-(.*)-\d{4}-\d\d-\d\dT/)[1];
    all[scenario] = JSON.parse(readFileSync(join(out, folder, 'checks.json'), 'utf8'));
  }
  return all;
}

// judged compares the checks with the expected failures.
function judged(server, revision, scenarios, all) {
  const known = expected.filter((e) => e.server === server && e.revision === revision);
  const failed = [];
  let passed = 0;
  for (const scenario of scenarios) {
    assert.ok(all[scenario]?.length, `${server}, ${revision}: ${scenario} was not run`);
    for (const check of all[scenario]) {
      const untested = check.status === 'SKIPPED' || check.details?.untestable;
      if (untested && server !== 'fixtures') continue; // it has no use for a tool of the suite's
      const missed = untested || !['SUCCESS', 'INFO'].includes(check.status);
      if (check.status === 'SUCCESS' && !missed) passed++;
      if (missed) failed.push({ scenario, check: check.id, text: `${check.status} ${check.errorMessage ?? ''} ${JSON.stringify(check.details ?? '')}`.slice(0, 600) });
    }
  }
  const same = (a, b) => a.scenario === b.scenario && a.check === b.check;
  const wrong = [
    ...failed.filter((f) => !known.some((k) => same(f, k))).map((f) => `${f.scenario}: ${f.check}: ${f.text}`),
    ...known.filter((k) => !failed.some((f) => same(f, k))).map((k) => `${k.scenario}: ${k.check} is in conformance-expected.json and does not fail: take it off`),
  ];
  console.log(`conformance, ${server}, ${revision}: ${scenarios.length} scenarios, ${passed} checks passed, ${failed.length} not, as listed: ${failed.length - wrong.length}`);
  return wrong.map((w) => `${server}, ${revision}: ${w}`);
}

const wrong = [];
try {
  for (const [server, command, args] of [
    ['fixtures', process.env.CONFORMANCE, []],
    ['loop-mcp', process.env.LOOP_MCP, ['serve', '--http', '127.0.0.1:0']],
  ]) {
    const running = await started(command, args);
    try {
      for (const revision of Object.keys(anyServer)) {
        const all = await checked(server, running.url, revision);
        wrong.push(...judged(server, revision, server === 'fixtures' ? Object.keys(all) : anyServer[revision], all));
      }
    } finally {
      await ended(running);
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
assert.equal(wrong.length, 0, `\n${wrong.join('\n')}`);
