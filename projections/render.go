package projections

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/schemas"
)

// Documents are written by hand: they are written for every change of every job, and
// read by copying. encoding/json would take most of the projection's time.

// timeFormat has always the same number of digits, so that text sorts as time.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// nanos is a time as it is stored; 0 is no time at all.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// appendText writes a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always has an encoding
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendOptional writes a JSON string, or null for an empty one.
func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendText(b, s)
}

// appendTime writes a time, or null for none.
func appendTime(b []byte, n int64) []byte {
	if n == 0 {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = time.Unix(0, n).UTC().AppendFormat(b, timeFormat)
	return append(b, '"')
}

// appendRaw writes JSON as it came, or null for none.
func appendRaw[T ~[]byte | ~string](b []byte, raw T) []byte {
	if len(raw) == 0 {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

func appendInt(b []byte, key string, n int64) []byte {
	b = append(b, key...)
	return strconv.AppendInt(b, n, 10)
}

// appendDoc writes the job without what is kept apart: input, output, nodes and edges.
func (j *job) appendDoc(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), j.id)
	b = appendOptional(append(b, `,"name":`...), j.name)
	b = appendOptional(append(b, `,"set":`...), j.set)
	b = appendText(append(b, `,"type":`...), j.typ)
	b = appendInt(b, `,"definitionVersion":`, int64(j.version))
	b = appendInt(b, `,"run":`, int64(j.run))
	b = appendText(append(b, `,"state":`...), j.phase.String())
	b = appendInt(b, `,"code":`, int64(j.phase))
	b = appendPaused(b, j.paused)
	b = appendTime(append(b, `,"createdAt":`...), j.created)
	b = appendTime(append(b, `,"startedAt":`...), j.started)
	b = appendTime(append(b, `,"endedAt":`...), j.ended)
	b = appendTime(append(b, `,"deadline":`...), j.deadline)
	b = append(append(b, `,"labels":`...), j.labels...)
	b = strconv.AppendBool(append(b, `,"partial":`...), j.partial)
	b = appendRaw(append(b, `,"result":`...), j.result)
	b = appendRaw(append(b, `,"error":`...), j.failure)
	b = append(append(b, `,"failures":`...), j.failures...)
	b = j.count.append(append(b, `,"progress":`...))
	b = appendText(append(b, `,"fingerprint":`...), j.fingerprint)
	if j.removed != 0 {
		b = appendTime(append(b, `,"blobsRemovedAt":`...), j.removed)
	}
	b = j.appendLifecycle(b)
	b = appendPosition(append(b, `,"position":`...), schemas.AggregateOrchestration, j.partition, j.command)
	return append(b, '}')
}

// append writes progress: how many nodes there are of each kind.
func (c *counts) append(b []byte) []byte {
	total := int64(0)
	for _, n := range c {
		total += n
	}
	b = appendInt(b, `{"total":`, total)
	b = appendInt(b, `,"pending":`, c[pending])
	b = appendInt(b, `,"running":`, c[running])
	b = appendInt(b, `,"waiting":`, c[waiting])
	b = appendInt(b, `,"completed":`, c[completed])
	b = appendInt(b, `,"failed":`, c[failed])
	b = appendInt(b, `,"cancelled":`, c[cancelled])
	b = appendInt(b, `,"skipped":`, c[skipped])
	return append(b, '}')
}

// appendDoc writes the node as the HTTP interface shows it.
func (n *node) appendDoc(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), n.id)
	b = appendText(append(b, `,"name":`...), n.name)
	b = appendText(append(b, `,"type":`...), n.typ)
	b = appendOptional(append(b, `,"discriminator":`...), n.discriminator)
	b = appendOptional(append(b, `,"parent":`...), n.parent)
	b = append(b, `,"dependsOn":[`...)
	for i, d := range n.dependsOn {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, d)
	}
	b = appendText(append(b, `],"state":`...), n.phase.String())
	b = appendPaused(b, n.paused)
	b = appendInt(b, `,"attempt":`, int64(n.attempt))
	b = appendOptional(append(b, `,"workId":`...), n.work)
	b = appendOptional(append(b, `,"agent":`...), n.agent)
	b = appendTime(append(b, `,"since":`...), n.since)
	b = appendTime(append(b, `,"deadline":`...), n.deadline)
	b = appendTime(append(b, `,"nextAttemptAt":`...), n.next)
	b = n.appendWaitingOn(append(b, `,"waitingOn":`...))
	b = n.appendAccess(b)
	b = appendRaw(append(b, `,"output":`...), n.output)
	b = appendRaw(append(b, `,"error":`...), n.failure)
	b = appendTime(append(b, `,"startedAt":`...), n.started)
	b = appendTime(append(b, `,"endedAt":`...), n.ended)
	return append(b, '}')
}
