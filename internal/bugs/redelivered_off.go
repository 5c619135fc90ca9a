//go:build !bug_redelivered

package bugs

// Redelivered takes a commit whose acknowledgement was lost for one that has not landed.
const Redelivered = false
