//go:build !bug_uncharged

package bugs

// Uncharged stores a start's charge only after its body has ended.
const Uncharged = false
