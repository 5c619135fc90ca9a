package command

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestASlowReaderGetsTheLastLines: on a busy machine a handler's result was lost
// when reading what came before it took longer than a quarter of a second.
func TestASlowReaderGetsTheLastLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, in := io.Pipe()
		s := newSource(out)
		go func() {
			for range 4 {
				fmt.Fprint(in, "a line\n")
			}
		}() // and the pipe stays open
		lines, read := 0, make(chan struct{})
		go func() {
			defer close(read)
			for b := make([]byte, 100); ; time.Sleep(3 * drainTime) {
				if _, err := s.Read(b); err != nil {
					return
				}
				lines++
			}
		}()
		s.drain(time.Now().Add(drainMost))
		s.file.Close()
		<-read
		if lines != 4 {
			t.Errorf("%d of 4 lines were read", lines)
		}
	})
}

// TestDrainingEnds whoever holds the pipe, and however it is read.
func TestDrainingEnds(t *testing.T) {
	for name, read := range map[string]func(*source){
		"nobody reads":     func(*source) {},
		"read to its end":  func(s *source) { _, _ = io.Copy(io.Discard, s) },
		"reader that left": func(s *source) { _, _ = s.Read(make([]byte, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out, in := io.Pipe()
				s := newSource(out)
				var busy sync.WaitGroup
				busy.Go(func() {
					for { // out of reach, and goes on printing
						if _, err := fmt.Fprint(in, "x"); err != nil {
							return
						}
						time.Sleep(drainTime / 3)
					}
				})
				busy.Go(func() { read(s) })
				s.drain(time.Now().Add(drainMost))
				s.file.Close()
				busy.Wait()
			})
		})
	}
}
