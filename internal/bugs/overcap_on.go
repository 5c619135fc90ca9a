//go:build bug_overcap

package bugs

// OverCap lets a loop have one start more than its limit.
const OverCap = true
