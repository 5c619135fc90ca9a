package remote

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// emit implements Turn.Emit.
func (w *work) emit(l loops.Live) {
	w.live.Lock()
	room := max(0, maxLive-w.text.Len())
	p := piece(strings.ToValidUTF8(l.Text, "\uFFFD"), room)
	if room == 0 {
		p = ""
	}
	w.text.WriteString(p)
	w.lost += len(l.Text) - len(p)
	if l.Tool != "" {
		w.tool = clip(strings.ToValidUTF8(l.Tool, "\uFFFD"), 128)
	}
	w.live.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// speak sends live text, joined, until ctx ends. Nobody acknowledges it.
func (w *work) speak(ctx context.Context) {
	pause := time.NewTicker(emitEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.ready:
		}
		w.live.Lock()
		m := Message{V: Version, Type: TypeEmit, Key: w.offer.Key, By: w.by, Text: Text(w.text.String()), Tool: w.tool}
		if w.lost > 0 {
			m.Text += Text(fmt.Sprintf("\n[%d bytes left out]\n", w.lost))
		}
		w.text.Reset()
		w.tool, w.lost = "", 0
		w.live.Unlock()
		if data, err := encode(m); err == nil && (m.Text != "" || m.Tool != "") {
			_ = w.s.nc.Publish(w.to, data) // live text is lossy
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}
