package modeltest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"example.com/loop-mcp/loops/model"
)

// FirstToken measures the time from a server's flush of the first piece of text
// until live gets it: what an adapter, its library and the loopback add. before
// are the events ahead of that piece, after the rest.
func FirstToken(b *testing.B, open func(url string) model.Model, before, first, after string) {
	var flushed atomic.Int64
	begin := time.Now()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the client may be gone
		flush := http.NewResponseController(w).Flush
		Stream(before)(w, r)
		flush()                  //nolint:errcheck // the client may be gone
		io.WriteString(w, first) //nolint:errcheck // the client may be gone
		flushed.Store(int64(time.Since(begin)))
		flush()                  //nolint:errcheck // the client may be gone
		io.WriteString(w, after) //nolint:errcheck // the client may be gone
	}))
	defer srv.Close()
	m := open(srv.URL)
	var sum int64
	var got bool
	live := func(model.Live) {
		if !got {
			got = true
			sum += int64(time.Since(begin)) - flushed.Load()
		}
	}
	for b.Loop() {
		got = false
		if _, err := m.Generate(b.Context(), Ask("hi"), live); err != nil || !got {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(sum)/float64(b.N)/1e3, "µs/first-token")
}
