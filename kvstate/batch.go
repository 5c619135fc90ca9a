package kvstate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// The headers of a batch: ADR-50 of NATS.
const (
	batchID     = "Nats-Batch-Id"
	batchSeq    = "Nats-Batch-Sequence"
	batchCommit = "Nats-Batch-Commit"
)

// sendBatch publishes group as one atomic batch and returns the sequence of its
// last record. Its records have sequences without a gap.
func (s *Store) sendBatch(ctx context.Context, id string, group []*post) (last uint64, err error) {
	defer func() {
		if err != nil { // each may go again without the others
			for _, p := range group {
				delete(p.m.Header, batchID)
				delete(p.m.Header, batchSeq)
				delete(p.m.Header, batchCommit)
			}
		}
	}()
	for i, p := range group {
		p.m.Header[batchID], p.m.Header[batchSeq] = []string{id}, []string{strconv.Itoa(i + 1)}
		if i < len(group)-1 {
			if err := s.nc.PublishMsg(p.m); err != nil {
				return 0, err
			}
			continue
		}
		p.m.Header[batchCommit] = []string{"1"}
		answer, err := s.nc.RequestMsgWithContext(ctx, p.m)
		if err != nil {
			return 0, err
		}
		return readBatchAck(answer.Data, id, len(group))
	}
	return 0, nil
}

func readBatchAck(data []byte, id string, count int) (uint64, error) {
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
		Batch string              `json:"batch"`
		Count int                 `json:"count"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Batch != id || ack.Count != count || ack.Seq < uint64(count) {
		return 0, fmt.Errorf("the server's answer is not about the batch of %d commits: %s", count, data)
	}
	return ack.Seq, nil
}

// wrongLast begins the description of the refusal that names the sequence which
// the server has in the place of the expected one.
const wrongLast = "wrong last sequence: "

// guilty returns the post because of which the server refused a batch, nil if
// that is not known.
func (s *Store) guilty(ctx context.Context, refusal *jetstream.APIError, group []*post) *post {
	found, named := strings.CutPrefix(refusal.Description, wrongLast)
	seq, err := strconv.ParseUint(found, 10, 64)
	if refusal.ErrorCode != 10071 || !named || err != nil || seq == 0 {
		return nil
	}
	m, err := s.leader(ctx, streamLoops, getRequest{Seq: seq})
	if err != nil {
		return nil
	}
	if i := slices.IndexFunc(group, func(p *post) bool { return p.m.Subject == m.subject }); i >= 0 {
		return group[i]
	}
	return nil
}

// stager is a [Disk] that makes batches cheaper, now that their stream is there.
type stager interface{ Stage() }

// allowGroups makes sure that the server takes batches, if many commits are to go
// together. Without them each goes alone.
func (s *Store) allowGroups(ctx context.Context, heads *stream) {
	if !s.opts.Group || s.opts.ReadOnly {
		return
	}
	if config := heads.found; !config.AllowAtomicPublish { // an older version made it
		config.AllowAtomicPublish = true
		ctx, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		if _, err := s.js.UpdateStream(ctx, config); err != nil {
			s.log.Info("commits are synced one by one: the stream takes no batches and can't be changed", "cause", err)
			return
		}
	}
	s.posts.group, s.posts.send = true, s.sendBatch
	s.posts.prefix = strings.ToLower(rand.Text()[:10]) + "."
	if disk, ok := s.opts.Disk.(stager); ok {
		disk.Stage()
	}
}
