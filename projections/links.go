package projections

import (
	"context"
	"database/sql/driver"
	"strings"
)

// What an activity waits for that is carried out by a transfer, or a negotiation, stands among the
// rows of these. They come from partitions of their own, so nothing of them is written into a
// job's rows, which would then depend on the order of reading: it is looked up when the job is
// read. A job without such activities asks for nothing more.

const (
	waitingOnKey     = `,"waitingOn":`
	transferIDKey    = `,"transferId":`
	negotiationIDKey = `,"negotiationId":`
)

// nodeDoc is a node's document as it is shown. fixed says that it stays so until the job or the
// transfer has another event.
func (c *conn) nodeDoc(ctx context.Context, job, id, doc string) (shown string, fixed bool, err error) {
	before, rest, ok := strings.Cut(doc, transferIDKey)
	if !ok {
		return doc, true, nil
	}
	transfer, rest, _ := strings.Cut(rest, negotiationIDKey)
	negotiation, after, _ := strings.Cut(rest, `,"output":`) // as appendDoc has it
	at := strings.LastIndex(before, waitingOnKey)
	l := link{waitingOn: before[at+len(waitingOnKey):], negotiation: negotiation}
	waits := l.waitingOn != "null"
	switch {
	case transfer != "null":
		err = c.linkTransfer(ctx, &l, strings.Trim(transfer, `"`), waits)
	case waits:
		err = c.linkAcquire(ctx, &l, job, id)
	default:
		l.fixed = true
	}
	if err != nil {
		return "", false, err
	}
	return before[:at] + waitingOnKey + l.waitingOn + transferIDKey + transfer + negotiationIDKey + l.negotiation + `,"output":` + after, l.fixed, nil
}

// link is what a node's document says of others, as JSON.
type link struct {
	waitingOn, negotiation string
	fixed                  bool
}

func (l *link) waits(kind, id string) {
	l.waitingOn = string(appendWaitingOn(nil, func() (string, string) { return kind, id }))
	if kind == WaitNegotiation {
		l.negotiation = string(appendText(nil, id))
	}
}

// linkTransfer looks the transfer up that carries a node out.
func (c *conn) linkTransfer(ctx context.Context, l *link, id string, waits bool) error {
	var kind, on, provider string
	err := c.query(ctx, "SELECT negotiation, provider, doc ->> '$.waitingOn.kind', doc ->> '$.waitingOn.id' FROM transfer WHERE id = ?", func(row []driver.Value) error {
		if s := text(row[0]); s != "" {
			l.negotiation = string(appendText(nil, s))
		}
		provider, kind, on = text(row[1]), text(row[2]), text(row[3])
		l.fixed = true
		return nil
	}, id)
	if err != nil || !waits || kind == "" {
		return err
	}
	if kind == WaitNegotiation {
		l.fixed = false
		if kind, on, err = c.awaited(ctx, id, provider); err != nil {
			return err
		}
	}
	l.waits(kind, on)
	return nil
}

// linkAcquire looks up what an activity waits for that asks for access itself.
func (c *conn) linkAcquire(ctx context.Context, l *link, job, node string) error {
	var party, negotiation string
	err := c.query(ctx, "SELECT party, negotiation FROM awaited WHERE job = ? AND job IS NOT NULL AND node = ? ORDER BY negotiation IS NULL LIMIT 1", func(row []driver.Value) error {
		party, negotiation = text(row[0]), text(row[1])
		return nil
	}, job, node)
	switch {
	case err != nil:
		return err
	case negotiation != "":
		l.waits(WaitNegotiation, negotiation)
	case party != "":
		_, provider, _ := strings.Cut(party, " ")
		l.waits(WaitProvider, provider)
	}
	return nil
}
