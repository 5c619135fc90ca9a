package main

import (
	"fmt"
	"slices"
	"strings"
)

// spendingLoop writes the loop file of a job. limits
// are YAML.
func (o *outside) spendingLoop(b *box, number int, limits string) string {
	b.t.Helper()
	until := fmt.Sprintf("{ kind: judge, model: judge%d, criteria: [ { id: last, text: It is the draft that was wanted last } ] }", number)
	if o.jobs[number].drafts == 0 {
		until = "{ kind: predicate, expression: 'false' }"
	}
	return b.write(fmt.Sprintf("job-%02d.loop.yaml", number), fmt.Sprintf(`name: job-%02d
goal: Write the drafts of job-%02[1]d.
body: { kind: agent, model: worker%[1]d, tools: ["tools__*"] }
until: { all: [ %[2]s ] }
limits: %[3]s
retry: { initial: 10ms, max: 50ms, max_attempts: 5 }
stall: { passes: 0 }
`, number, until, limits))
}

// configure writes the configuration of all jobs. approve is a YAML list of
// tools that need a person. daily is what all loops may spend in a day, in
// micro-dollars; 0: no such limit.
func (o *outside) configure(b *box, maxOutput int, approve string, daily int64) {
	b.t.Helper()
	var models strings.Builder
	price := func(r rates) string {
		return fmt.Sprintf("{ input: %s, cache_read: %s, output: %s }", micros(r.input), micros(r.cached), micros(r.output))
	}
	for i, j := range o.jobs {
		for role, r := range map[string]rates{"worker": j.worker, "judge": j.judge} {
			fmt.Fprintf(&models, "  %s%d: { provider: openai, wire: chat, model: %[1]s-%d, base_url: \"%s/${GENERATION}/v1\", context_window: 1000000, max_output: %d, price: %s }\n",
				role, i, o.server.URL, maxOutput, price(r))
		}
	}
	budget := ""
	if daily > 0 {
		budget = "daily_cost_usd: " + micros(daily) + "\n"
	}
	b.write("config/loop-mcp/config.yaml", budget+fmt.Sprintf(`models:
%smcp_servers:
  tools: { command: %q, env: { LOOP_HELPER: tools, OUTSIDE: "%s/${GENERATION}", GORACE: atexit_sleep_ms=0 }, approve: %s }
`, models.String(), helper, o.server.URL, approve))
}

func micros(n int64) string { return fmt.Sprintf("%d.%06d", n/1_000_000, n%1_000_000) }

// generation says which process runs from now on.
func (b *box) generation(n int) {
	b.env = slices.DeleteFunc(b.env, func(v string) bool { return strings.HasPrefix(v, "GENERATION=") })
	b.env = append(b.env, fmt.Sprint("GENERATION=", n))
}

// ledger is what a loop says that it has spent.
type ledger struct{ starts, iterations, passes, input, output, tokens, cost, tools float64 }

func ledgerOf(snapshot map[string]any) ledger {
	usage, _ := snapshot["usage"].(map[string]any)
	n := func(key string) float64 { f, _ := usage[key].(float64); return f }
	return ledger{n("starts"), n("iterations"), n("passes"), n("input_tokens"), n("output_tokens"), n("total_tokens"), n("cost_usd"), n("tool_calls")}
}

func (l ledger) list() []float64 {
	return []float64{l.starts, l.iterations, l.passes, l.input, l.output, l.tokens, l.cost, l.tools}
}

// below reports whether anything of l is less than it was.
func (l ledger) below(was ledger) bool {
	for i, now := range l.list() {
		if now < was.list()[i] {
			return true
		}
	}
	return false
}

// caps are the limits of a loop on what it spends.
type caps struct {
	cost          int64 // micro-dollars
	tokens, tools int64
}

func (c caps) yaml() string {
	return fmt.Sprintf("{ max_cost_usd: %s, max_total_tokens: %d, max_tool_calls: %d, max_iterations: 300, max_passes: 50, max_failures: 50 }", micros(c.cost), c.tokens, c.tools)
}

// audit compares what happened outside with what the loop of a job was allowed
// and says that it spent. again are runs that a person approved once more.
func (o *outside) audit(job int, c caps, l ledger, again int) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var tokens, cost, tools int64
	seen := map[string]int{} // how often something came to its end
	for i, e := range o.events {
		if e.job != job {
			continue
		}
		tokens, cost = tokens+e.tokens, cost+e.cost
		if e.kind == "tool" {
			tools++
		}
		if cut := o.killed[e.gen] && o.last(i); e.fault || cut && e.tool != "write" {
			continue
		}
		seen[e.what]++
	}
	for what, n := range seen {
		allowed := 1
		if strings.HasPrefix(what, "done about") {
			allowed = 2 // votes
		}
		if strings.HasPrefix(what, "run of write") && n > allowed {
			again -= n - allowed
			continue
		}
		if n > allowed {
			o.t.Errorf("job %d: %d times %s, with no kill that explains it", job, n, what)
		}
	}
	if again < 0 {
		o.t.Errorf("job %d: the tool that must not run twice ran %d times too often", job, -again)
	}
	if cost > c.cost*1_000_000 || tokens > c.tokens || tools > c.tools {
		o.t.Errorf("job %d: billed are %s for %d tokens, and %d tools ran; the limits are %+v", job, micros(cost/1_000_000), tokens, tools, c)
	}
	if float64(cost) > l.cost*1e12+0.5 || float64(tokens) > l.tokens || float64(tools) > l.tools {
		o.t.Errorf("job %d: billed are %s for %d tokens, and %d tools ran; the ledger has %+v", job, micros(cost/1_000_000), tokens, tools, l)
	}
	if int64(l.cost*1e6+0.5) > c.cost || int64(l.tokens) > c.tokens || int64(l.tools) > c.tools {
		o.t.Errorf("job %d: the ledger %+v is above the limits %+v", job, l, c)
	}
}

// billed is what the provider has billed altogether, in micro-dollars.
func (o *outside) billed() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	var sum int64
	for _, e := range o.events {
		sum += e.cost
	}
	return (sum + 999_999) / 1_000_000
}

// last reports whether event i was the last one of its job in its process.
func (o *outside) last(i int) bool {
	return !slices.ContainsFunc(o.events[i+1:], func(e event) bool { return e.job == o.events[i].job && e.gen == o.events[i].gen })
}
