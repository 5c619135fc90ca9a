package rush

import (
	"os"
	"runtime"
	"testing"
)

func TestARushHasTwiceTheProcessorsAndGivesThemBack(t *testing.T) {
	t.Setenv("GOMAXPROCS", "") // puts it back
	if err := os.Unsetenv("GOMAXPROCS"); err != nil {
		t.Fatal(err)
	}
	was := runtime.GOMAXPROCS(0)
	over := Begin()
	if got := runtime.GOMAXPROCS(0); got != 2*was {
		t.Errorf("%d processors in a rush, want twice %d", got, was)
	}
	over()
	if got := runtime.GOMAXPROCS(0); got != was {
		t.Errorf("%d processors afterwards, want %d", got, was)
	}
}

func TestWhatTheUserSetsStays(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "1")
	over := Begin()
	if got := runtime.GOMAXPROCS(0); got != was {
		t.Errorf("%d processors in a rush, want %d", got, was)
	}
	over()
	if got := runtime.GOMAXPROCS(0); got != was {
		t.Errorf("%d processors afterwards, want %d", got, was)
	}
}
