package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/cmd/waybill/internal/demo"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
)

// Exit codes, part of the public interface.
const (
	exitDone        = 0
	exitFailed      = 1 // a job that was waited for ended in error; a server broke down
	exitUsage       = 2
	exitUnreachable = 3 // or timed out
	exitRefused     = 4 // or not found
)

// exitError gives an error its exit code. An error without text has said all it had to.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func timedOutf(format string, args ...any) error {
	return &exitError{exitUnreachable, fmt.Errorf(format, args...)}
}

func refusedf(format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...)}
}

// exitCode finds the exit code that fits an error.
func exitCode(err error) int {
	var (
		exit     *exitError
		usage    *app.UsageError
		noServer *client.UnreachableError
		noKafka  *producers.UnreachableError
		noBroker *app.UnreachableError
		status   *client.StatusError
		invalid  *producers.InvalidError
		tooLarge *producers.TooLargeError
		refusal  *machine.Refusal
		demoJob  *demo.JobError
		access   *kafka.AccessError
		lack     *kafka.LackError
		unfit    *kafka.TopicsError
		shards   *kafka.PartitionsError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &demoJob):
		return exitFailed
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &access), errors.As(err, &lack), errors.As(err, &unfit), errors.As(err, &shards):
		return exitRefused
	case errors.As(err, &noServer), errors.As(err, &noKafka), errors.As(err, &noBroker), errors.Is(err, context.DeadlineExceeded):
		return exitUnreachable
	case errors.As(err, &status):
		return statusCode(status.Status)
	case errors.As(err, &invalid), errors.As(err, &tooLarge), errors.As(err, &refusal):
		return exitRefused
	}
	return exitFailed
}

func statusCode(status int) int {
	switch status {
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnreachable
	case http.StatusInternalServerError:
		return exitFailed
	}
	return exitRefused
}

// message is the one line an error is shown as: what happened, and what to do about it
// where that is not said already.
func message(err error) string {
	text := oneLine(err.Error())
	var noServer *client.UnreachableError
	var status *client.StatusError
	var number *strconv.NumError
	if errors.As(err, &number) { // strconv speaks to programmers
		want := map[bool]string{true: "want true or false", false: "want a number"}[number.Func == "ParseBool"]
		text = strings.Replace(text, number.Error(), want, 1)
		if quoted := strconv.Quote(number.Num); !strings.Contains(text, quoted) {
			text += ", not " + quoted
		}
	}
	switch {
	case errors.As(err, &noServer):
		return text + ": is `waybill serve` running there? Another server is named with --server"
	case errors.As(err, &status) && status.Status == http.StatusUnauthorized:
		return text + ": give it with --token-file or WAYBILL_TOKEN"
	}
	return text
}

// oneLine joins lines and drops what a terminal would obey.
func oneLine(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(s)) {
		switch before := b.String(); {
		case before == "":
		case strings.HasSuffix(before, ":"): // what follows is what was announced
			b.WriteByte(' ')
		default:
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimSpace(line))
	}
	return clean(b.String())
}

// clean replaces control characters: what comes from outside must not move the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
}
