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

.PHONY: soak
soak: ## Fifty loops for an hour, a process killed every 30 seconds
	go test ./cmd/loop-mcp -run '^TestSoak$$' -v -timeout 2h -soak 1h

.PHONY: fuzz
fuzz: ## Every fuzz target for 30 seconds
	@go list -f '{{$$p := .ImportPath}}{{range .TestGoFiles}}{{$$p}} {{end}}{{range .XTestGoFiles}}{{$$p}} {{end}}' ./... | tr ' ' '\n' | sort -u | while read -r p; do \
		for f in $$(go test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz'); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s -fuzzminimizetime 10x $$p || exit 1; done; done

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

.PHONY: bugs
bugs: ## Six mistakes, each of which the chaos suite must find
	cd loops/loopstest/chaos && go run ./cmd/bugs

.PHONY: ci
ci: ## Everything that has to be green
	.ci/run
