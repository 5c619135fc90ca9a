//go:build !bug_nochecksum

package bugs

// NoChecksum reads records whatever their checksums say.
const NoChecksum = false
