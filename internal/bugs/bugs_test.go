package bugs

import (
	"slices"
	"testing"
)

func TestABuildWithoutTagsMakesNoMistake(t *testing.T) {
	made := 0
	for tag, on := range All() {
		if on {
			made++
			t.Errorf("this build has %s", tag)
		}
	}
	if len(All()) != 6 || made > 0 {
		t.Errorf("%d mistakes, %d of them made", len(All()), made)
	}
}

// TestEachTagMakesItsMistakeAlone keeps a build that is to show one mistake from
// showing another.
func TestEachTagMakesItsMistakeAlone(t *testing.T) {
	tags := []string{"bug_uncharged", "bug_nosync", "bug_nolock", "bug_overcap", "bug_nochecksum", "bug_redelivered"}
	for tag := range All() {
		if !slices.Contains(tags, tag) {
			t.Errorf("%s is not documented", tag)
		}
	}
}
