package mcpserver

import "slices"

// hunk is a run of lines that differ: a to aEnd of the one text stand where b to
// bEnd of the other do. One of the two can be empty.
type hunk struct{ a, aEnd, b, bEnd int }

// maxEdits bounds the work of lineDiff: texts that differ in more lines are one
// hunk from the first difference to the last.
const maxEdits = 500

// lineDiff returns where two texts differ, by Myers' algorithm.
func lineDiff(a, b []string) []hunk {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	a, b = a[start:len(a)-end], b[start:len(b)-end]
	if len(a)+len(b) == 0 {
		return nil
	}
	hunks := edits(a, b)
	for i := range hunks {
		h := &hunks[i]
		h.a, h.aEnd, h.b, h.bEnd = h.a+start, h.aEnd+start, h.b+start, h.bEnd+start
	}
	return hunks
}

// edits finds the shortest way from a to b, one line taken away or added at a
// time. reach[d][k+d] is how far into a the best path of d edits on the diagonal k
// comes.
func edits(a, b []string) []hunk {
	var reach [][]int32
	v := map[int]int{1: 0}
	for d := 0; d <= min(len(a)+len(b), maxEdits); d++ {
		row := make([]int32, 2*d+1)
		for k := -d; k <= d; k += 2 {
			x := v[k-1] + 1
			if k == -d || k != d && v[k-1] < v[k+1] {
				x = v[k+1]
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			v[k], row[k+d] = x, int32(x)
			if x >= len(a) && x-k >= len(b) {
				return trace(append(reach, row), len(a), len(b))
			}
		}
		reach = append(reach, row)
	}
	return []hunk{{0, len(a), 0, len(b)}}
}

// trace walks back from the ends of both texts and joins edits that touch.
func trace(reach [][]int32, x, y int) []hunk {
	var hunks []hunk
	for d := len(reach) - 1; d > 0; d-- {
		k, before := x-y, reach[d-1]
		at := func(k int) int { // -1: no path of d-1 edits ends there
			if i := k + d - 1; i >= 0 && i < len(before) {
				return int(before[i])
			}
			return -1
		}
		from := k - 1 // a line of a was taken away
		if k == -d || k != d && at(k-1) < at(k+1) {
			from = k + 1 // one of b was added
		}
		px := at(from)
		py := px - from
		ex, ey := px+1, py
		if from == k+1 {
			ex, ey = px, py+1
		}
		if n := len(hunks); n > 0 && hunks[n-1].a == ex && hunks[n-1].b == ey {
			hunks[n-1].a, hunks[n-1].b = px, py
		} else {
			hunks = append(hunks, hunk{px, ex, py, ey})
		}
		x, y = px, py
	}
	slices.Reverse(hunks)
	return hunks
}
