// Package bugs has six mistakes that the chaos suite must find, each behind a
// build tag (bug_uncharged and so on). Without tags all are false, and the
// compiler leaves out what they would do. A suite that finds nothing proves
// something only when it finds these; `make bugs` shows it.
package bugs

// All lists the tags of the mistakes and whether this program makes them.
func All() map[string]bool {
	return map[string]bool{
		"bug_uncharged":   Uncharged,
		"bug_nosync":      NoSync,
		"bug_nolock":      NoLock,
		"bug_overcap":     OverCap,
		"bug_nochecksum":  NoChecksum,
		"bug_redelivered": Redelivered,
	}
}
