//go:build bug_nolock

package bugs

// NoLock lets several processes run a server on one store.
const NoLock = true
