package query

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/projections"
)

// wellFormed refuses a query of which a part cannot be read, or is not known to the route: net/url
// drops the one, everybody the other, and an answer without one of the filters looks like an
// answer.
func wellFormed(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &ParamError{"query", err.Error()}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if !slices.Contains(known, name) {
			return &ParamError{fmt.Sprintf("%.50s", name), "is not known here; known are " + strings.Join(known, ", ")}
		}
	}
	return nil
}

func position(token string) (kafka.Position, error) {
	p, err := kafka.ParsePosition(token)
	if err != nil {
		return p, &ParamError{"position", err.Error()}
	}
	return p, nil
}

// number reads a parameter that counts; absent is 0.
func number(v url.Values, name string) (int64, error) {
	s := v.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, &ParamError{name, fmt.Sprintf("%.50q: want a number from 0 on", s)}
	}
	return n, nil
}

// truth reads a parameter that is true or false; absent is false.
func truth(v url.Values, name string) (bool, error) {
	switch s := v.Get(name); s {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, &ParamError{name, fmt.Sprintf("%.50q: want true or false", s)}
	}
}

// limit reads the size of a page; absent is 0, the default.
func limit(v url.Values) (int, error) {
	n, err := number(v, "limit")
	if err == nil && v.Has("limit") && (n < 1 || n > projections.MaxPageSize) {
		err = &ParamError{"limit", fmt.Sprintf("%d: want 1 to %d", n, projections.MaxPageSize)}
	}
	return int(n), err
}

func moment(v url.Values, name string) (time.Time, error) {
	s := v.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, &ParamError{name, fmt.Sprintf("%.50q: want a time as in RFC 3339, 2026-01-02T15:04:05Z", s)}
	}
	return representable(t), nil
}

// representable moves a time into the range of what the rows hold, nanoseconds in 64 bits:
// beyond it they would run over, and the year 9999 would lie before all others.
func representable(t time.Time) time.Time {
	if least := time.Unix(0, math.MinInt64); t.Before(least) {
		return least
	}
	if most := time.Unix(0, math.MaxInt64); t.After(most) {
		return most
	}
	return t
}

// wait reads ?wait=; absent is 0.
func (q *queries) wait(v url.Values) (time.Duration, error) {
	s := v.Get("wait")
	if s == "" {
		return 0, nil
	}
	d, err := definition.ParseDuration(s)
	if err != nil {
		return 0, &ParamError{"wait", err.Error()}
	}
	return min(d, q.cfg.MaxWait), nil
}

// labels reads ?label=name:value, which may be repeated. A name may be followed by an
// equals sign as well.
func labels(v url.Values) (map[string]string, error) {
	l := make(map[string]string, len(v["label"]))
	for _, s := range v["label"] {
		i := strings.IndexAny(s, "=:")
		if i <= 0 {
			return nil, &ParamError{"label", fmt.Sprintf("%.100q: want name=value", s)}
		}
		l[s[:i]] = s[i+1:]
	}
	return l, nil
}

// JobFilter reads the parameters of the list of jobs. Its error is a *ParamError.
func JobFilter(v url.Values) (projections.JobFilter, error) {
	f := projections.JobFilter{State: v.Get("state"), Type: v.Get("type"), Name: v.Get("name"), Set: v.Get("set"), Query: v.Get("q"), Cursor: v.Get("cursor")}
	var err error
	if f.Limit, err = limit(v); err != nil {
		return f, err
	}
	if f.Since, err = moment(v, "since"); err != nil {
		return f, err
	}
	if f.Until, err = moment(v, "until"); err != nil {
		return f, err
	}
	f.Labels, err = labels(v)
	return f, err
}
