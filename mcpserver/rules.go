package mcpserver

import "example.com/loop-mcp/loops"

// statusRules say what each live status means.
var statusRules = map[loops.Status]string{
	loops.Queued:     "A queued loop starts as soon as a process that can run it has a worker free.",
	loops.Running:    "A running loop goes on by itself until a stop condition is met or a limit is reached.",
	loops.Waiting:    "A waiting loop goes on by itself when its time has come; resume skips the wait.",
	loops.YourTurn:   "In a client loop the MCP client does each iteration; nothing runs until it hands in.",
	loops.NeedsInput: "A loop that needs a person waits for the answer or approval; nothing runs meanwhile.",
	loops.Paused:     "A paused loop never moves by itself, not even after a restart.",
	loops.Cancelling: "A cancel is durable before it is answered; then the running body is ended, and the loop settles.",
}

// stopRules say which rule ended a loop.
var stopRules = map[loops.StopReason]string{
	loops.GoalPredicate:  "At the end of a pass the stop conditions held; a predicate decided last.",
	loops.GoalCommand:    "At the end of a pass the stop conditions held; a command decided last.",
	loops.GoalJudge:      "At the end of a pass the stop conditions held; the judge decided last.",
	loops.GoalHuman:      "At the end of a pass a person approved.",
	loops.GoalClaimed:    "The worker says that it is done, and only its word is asked for.",
	loops.GoalAlreadyMet: "check_first found the goal met before the first pass, so nothing was started.",

	loops.CapIterations: "max_iterations bounds the starts of the body, retries and crashed ones included.",
	loops.CapPasses:     "max_passes bounds how many passes may end without the goal being met.",
	loops.CapDuration:   "max_duration bounds the wall clock since the start, pauses included.",
	loops.CapActive:     "max_active bounds working time: bodies, conditions, delays and back-off.",
	loops.CapTokens:     "max_total_tokens bounds the tokens of all calls together.",
	loops.CapCost:       "max_cost_usd bounds the money of all calls together.",
	loops.CapToolCalls:  "max_tool_calls bounds the tool calls of the worker.",
	loops.CapParent:     "A loop started by another loop's worker draws on that loop's limits and ends with them.",
	loops.CapDailyCost:  "daily_cost_usd, set by the operator, bounds what all loops spend in a day.",

	loops.StallRepeatedOutput: "After stall.passes passes with the same output the worker is nudged; as many again end the loop.",
	loops.StallNoProgress:     "After stall.passes passes with the same evidence and verdict the worker is nudged; as many again end the loop.",

	loops.BlockedImpossible: "The judge found twice that the goal cannot be reached.",
	loops.BlockedNoAnswer:   "answer_timeout bounds how long a question may wait for a person.",
	loops.BlockedProtected:  "While a protected file differs from the start, no condition is met.",

	loops.FailBody:        "The body cannot do its work: the fault is not one that repeating mends.",
	loops.FailFailures:    "max_failures bounds the failed iterations in a row.",
	loops.FailProvider:    "The model provider refused for good.",
	loops.FailJudge:       "The judge is configured wrongly; a failed judge never counts as done.",
	loops.FailPredicate:   "A predicate that fails with the same error three passes running ends the loop.",
	loops.FailQuarantined: "A record that does not verify is shown and never run.",

	loops.CancelClient:   "A client cancelled it; a cancelled loop stays so.",
	loops.CancelOperator: "The operator cancelled it; a cancelled loop stays so.",
	loops.CancelParent:   "It was started by another loop's worker and ended with that loop.",
}
