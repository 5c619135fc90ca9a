.DEFAULT_GOAL := help

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-13s %s\n", $$1, $$2}'

# Without the tag grpc brings pages that show its calls, and with their templates
# a fifth of the program's size.
.PHONY: build
build: ## The program, as ./loop-mcp
	CGO_ENABLED=0 go build -tags grpcnotrace -trimpath -ldflags '-s -w' -o loop-mcp ./cmd/loop-mcp

.PHONY: test
test: ## All tests
	go test ./...

.PHONY: race
race: ## All tests under the race detector
	go test -race ./...

.PHONY: offline
offline: ## All tests and the chaos suite's short form without any network but loopback
	go test -exec $(CURDIR)/.ci/offline ./...
	cd loops/loopstest/chaos && go build -o /dev/null go.etcd.io/gofail && go test -exec $(CURDIR)/.ci/offline ./...

SOAK ?= 1h

.PHONY: soak
soak: ## Fifty loops for an hour (SOAK=2m: less), a process killed every 30 seconds
	go test ./cmd/loop-mcp -run '^TestSoak$$' -v -timeout 0 -soak $(SOAK)

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Every fuzz target for 30 seconds (FUZZTIME=10m: longer)
	@go list -f '{{$$p := .ImportPath}}{{range .TestGoFiles}}{{$$p}} {{end}}{{range .XTestGoFiles}}{{$$p}} {{end}}' ./... | tr ' ' '\n' | sort -u | while read -r p; do \
		for f in $$(go test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz'); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$p || exit 1; done; done

.PHONY: lint
lint: ## Formatting, vet and linters
	gofmt -l $$(git ls-files '*.go')
	go vet ./...
	golangci-lint run ./...

.PHONY: bench
bench: ## The figures of docs/performance.md
	go test -run '^$$' -bench . -benchmem ./loops/... ./kvstate/... ./mcpserver/... ./cmd/...

.PHONY: figures
figures: ## The figures of docs/performance.md that say what a rerun replaces, as Markdown (under 10 minutes)
	@.ci/figures

.PHONY: figures-write
figures-write: ## The same, written into docs/performance.md
	@.ci/figures --write

.PHONY: scaling
scaling: ## The model of docs/scaling.md with 100,000 loops (minutes, and about 10 GB of memory)
	go test ./kvstate -run '^$$' -bench Scale -benchtime 1x -timeout 30m -scale.loops 100000 -scale.interval 30s -scale.iterations 3

.PHONY: golden
golden: ## Write the golden files and the generated parts of the documentation anew
	go test ./judge ./loops ./loops/loopfile ./loops/remote ./mcpserver ./mcpserver/stdio ./cmd/loop-mcp/internal/clients -update
	go test ./cmd/loop-mcp -run TestGeneratedParts -update

.PHONY: prices
prices: ## The table of prices anew, from the npm package that the tests have installed
	go generate ./loops/model/prices
	go test ./loops/model/prices -update

.PHONY: demo
demo: ## The main job
	go run ./cmd/loop-mcp run examples/fix-build/fix-build.loop.yaml

.PHONY: clients
clients: ## Real MCP clients against the built server
	.ci/clients/run

.PHONY: agents
agents: ## The real claude and codex use the loop tools, with a scripted model (installs 770 MB)
	.ci/agents/run

.PHONY: cli-agents
cli-agents: ## The real claude, codex, gemini and opencode against a mock (installs 1.3 GB)
	.ci/cli-agents/run

.PHONY: chaos
chaos: ## A thousand kills, and a fault at every fault point (a quarter of an hour)
	cd loops/loopstest/chaos && go run ./cmd/chaos -kills 1000 -loops 500
	cd loops/loopstest/chaos && go test . -timeout 60m -run 'FaultPoint|Recovers|Tree' -all -chains 20 -trees 20

.PHONY: chaos-cluster
chaos-cluster: ## A hundred kills of nodes of a cluster, workers and servers (ten minutes)
	cd loops/loopstest/chaos && go run ./cmd/chaos -cluster -kills 100 -loops 400

CHAOS = cd loops/loopstest/chaos && go test -timeout 0

# Sizes of the fault tests that a change has no time for; those of a change are their
# flags' defaults. `make chaos`, `chaos-cluster`, `bugs`, `soak` and `fuzz` are apart.
.PHONY: nightly
nightly: ## The fault tests at their full sizes (two hours; chaos, soak and fuzz are apart)
	$(CHAOS) . -run '^TestEachFaultPoint$$' -all -times 10
	$(CHAOS) . -run '^TestKilledWhileItRecovers$$' -chains 200
	$(CHAOS) . -run '^TestATreeStaysWithinTheBudgetOfItsRoot$$' -trees 100
	$(CHAOS) . -run '^TestADiskThatAnswersWithErrors$$' -count 10
	$(CHAOS) ./power -rounds 3 -cuts 60 -busy 4s
	$(CHAOS) ./statemachine -rapid.checks 3500
	$(CHAOS) ./linear -histories 500
	$(CHAOS) -race ./statemachine ./linear
	go test ./kvstate -timeout 0 -run '^TestDamageIsNeverSilent$$' -damage 500 -damage-seed 0
	go test ./kvstate -timeout 0 -run '^TestADamagedDiskNeverSetsALoopBack$$' -count 20
	go test ./kvstate -timeout 0 -run '^TestKill$$' -count 5
	go test ./kvstate -timeout 0 -run '^TestKilledHost$$' -hostkills 50
	go test ./kvstate ./cmd/loop-mcp -timeout 0 -run 'Disk' -count 10
	go test ./kvstate/embed -timeout 0 -run '^(TestInUse|TestSilentHolder|TestKilledHolder|TestAReadOnlyFileSystemIsRefused|TestMembersShareOneStore)$$' -count 20
	go test ./cmd/loop-mcp -timeout 0 -run '^(TestKilledAtAnyInstant|TestKilledAmongOthers)$$' -kills 100
	go test ./loops -timeout 0 -run '^TestMaxDurationIsNotMovedByTheClock$$' -clocks 200
	go test ./loops/agent -timeout 0 -run '^TestHostileModel$$' -hostile 400
	LOOP_MCP_LONG_TESTS=1 go test -race -timeout 0 ./kvstate/cluster

.PHONY: bugs
bugs: ## Six mistakes, each of which the chaos suite must find
	cd loops/loopstest/chaos && go run ./cmd/bugs

.PHONY: ci
ci: ## Everything that has to be green
	.ci/run
