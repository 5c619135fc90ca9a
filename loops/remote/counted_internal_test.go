package remote

import (
	"strconv"
	"testing"
	"time"
)

func TestStartsThatEndedAreNotRememberedForEver(t *testing.T) {
	var c counted
	now := time.Now()
	said := func(n int) Message {
		return Message{V: Version, Type: TypeResult, Key: "story-aaaa." + strconv.Itoa(n), By: "me"}
	}
	const most = maxKnown + 3
	for n := range most {
		c.add(strconv.Itoa(n), known{key: said(n).Key, by: "me", at: now})
	}
	if len(c.starts) != maxKnown || len(c.order) != maxKnown {
		t.Errorf("%d starts are known in %d places, want %d", len(c.starts), len(c.order), maxKnown)
	}
	if c.has("2", said(2), now) || !c.has("3", said(3), now) {
		t.Error("not the oldest starts were forgotten")
	}
	if c.has("3", said(3), now.Add(resultKnown+1)) || len(c.starts) != 0 || len(c.order) != 0 {
		t.Errorf("%d starts are known after %s", len(c.starts), resultKnown)
	}
}
