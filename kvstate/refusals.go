package kvstate

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// refusals are what JetStream of an account does not do until its operator
// changes something, by its error codes.
var refusals = map[jetstream.ErrorCode]string{
	10005: "the NATS cluster has no servers for so many copies: start those that are down, or set nats.replicas to 1",
	10026: "the NATS account or stream has reached its number of consumers: raise it (each process that has the store open needs one), or end processes that are not needed",
	10027: "the NATS account has reached its number of streams: raise it to at least 7 for loops, or delete streams that are not needed",
	10028: "the NATS account has reached the limit of its memory: raise its JetStream memory limit by 16 MiB for live text",
	10039: "the NATS account has no JetStream: ask its operator to enable it for this account",
	10074: "the NATS server is alone and can't keep several copies: set nats.replicas to 1, or use a cluster of three servers",
	10076: "the NATS server runs without JetStream: start it with jetstream enabled",
	10113: "the NATS account allows only streams with a maximum of bytes: ask its operator to drop that rule, or to make the streams of docs/cluster.md",
	10120: "the NATS account has no limits for streams with so many copies: ask its operator for that tier, or set nats.replicas to 1",
	10122: "the NATS account limits the bytes of a stream below what loops ask for: raise that limit",
}

// refused says in words what the operator of the servers has to change.
func refused(api *jetstream.APIError, err error) error {
	if words := refusals[api.ErrorCode]; words != "" {
		return fmt.Errorf("%s (%w)", words, err)
	}
	return err
}

// lasting reports whether err stays until an operator changes something.
func lasting(err error) bool {
	var api *jetstream.APIError
	return denied(err) || errors.As(err, &api) && refusals[api.ErrorCode] != ""
}

// denied reports whether the servers do not allow what was tried: trying again
// does not help.
func denied(why error) bool { return errors.Is(why, nats.ErrPermissionViolation) }
