// Package baseline has benchmarks of what others do beside loop-mcp's engine, in
// one run: a bare file that is synced for each record or for all that wait, and
// SQLite with one insert for each iteration.
//
//	go test ./baseline -run '^$' -bench . -benchtime 2000x
//
// Every writer makes as many records as a loop has iterations, of the size that
// those have in a store (B/record, measured at the beginning), and each is on the
// disk before the next begins: b.N records for one loop, b.N/20 (at least one) for
// each of many.
package baseline
