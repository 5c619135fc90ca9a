// Package linear asks whether a loop that many clients control at once, through
// several processes of which some are killed, behaves as if there were one loop
// and one request at a time.
//
// Eight clients steer, pause, resume, submit to, limit, inspect, list and cancel
// one loop through three real processes that share an embedded store. While they
// do, processes are killed, the host of the store among them, and others take
// their place. Each call is noted with the moments at which it was sent and
// answered. porcupine then looks for an order of the calls that agrees with those
// moments and with a sequential model of the loop (model_test.go): status, starts,
// iterations, limits, epoch, guidance, and the revision, which is unique to each
// write and so pins the order down. A call that a kill left unanswered may have
// happened, at any time, or not. Its client sends it again with the same request
// id: it must not happen twice.
package linear
