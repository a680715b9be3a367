package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queryClients = 16
	queryJobs    = 1000
	queryTime    = 2 * time.Second
	queryWarmup  = 300 * time.Millisecond
)

// queries is W4.
func queries(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (Figures, error) {
		if err := e.submitAll(ctx, "job", chainType, queryJobs, submitters); err != nil {
			return Figures{}, err
		}
		if _, err := e.projected(ctx); err != nil {
			return Figures{}, err
		}
		if _, err := e.ask(ctx, queryWarmup); err != nil {
			return Figures{}, err
		}
		c := startClock()
		perSecond, err := e.ask(ctx, queryTime)
		took, cpu := c.read()
		note := fmt.Sprintf("each took %s µs of CPU, client included, %.0f %% of the cores", number(cpu*1e6/perSecond/took), share(cpu, took))
		return Figures{PerSecond: perSecond, note: note}, err
	})
}

// ask has all clients ask for a while, each for job after job, and says how many answers
// there were a second.
func (e *engine) ask(ctx context.Context, during time.Duration) (float64, error) {
	u, err := url.Parse(e.main.URL())
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	var answers atomic.Int64
	errs := make([]error, queryClients)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range queryClients {
		wg.Go(func() {
			c, err := dial(ctx, u.Host)
			if err != nil {
				errs[i] = err
				return
			}
			n := 0
			for ; ctx.Err() == nil && errs[i] == nil; n++ {
				errs[i] = c.get("/v1/jobs/" + jobID("job", (i*queryJobs/queryClients+n)%queryJobs))
			}
			answers.Add(int64(n))
			errs[i] = errors.Join(errs[i], c.conn.Close())
		})
	}
	wg.Wait()
	return float64(answers.Load()) / seconds(began), errors.Join(errs...)
}

// connection is an HTTP client that keeps one connection and asks one thing after the
// other. It reads no more of an answer than it must, because it shares the machine's cores
// with the server that is measured, as the load generators do that others were measured
// with.
type connection struct {
	conn    net.Conn
	in      *bufio.Reader
	host    string
	request []byte
}

// answerTimeout bounds the whole measurement: an answer that takes longer is none.
const answerTimeout = time.Minute

func dial(ctx context.Context, host string) (*connection, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &connection{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), host: host}, nil
}

// get asks for a path and reads the answer to its end.
func (c *connection) get(path string) error {
	c.request = append(c.request[:0], "GET "...)
	c.request = append(c.request, path...)
	c.request = append(c.request, " HTTP/1.1\r\nHost: "...)
	c.request = append(c.request, c.host...)
	c.request = append(c.request, "\r\nAccept: application/json\r\n\r\n"...)
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	length, err := c.head()
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	_, err = c.in.Discard(length)
	return err
}

// head reads status and headers and returns the length of the body.
func (c *connection) head() (length int, err error) {
	const status = "HTTP/1.1 200"
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len(status) || string(line[:len(status)]) != status {
		return 0, fmt.Errorf("answered %q", textproto.TrimBytes(line))
	}
	length = -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = textproto.TrimBytes(line)
		if len(line) == 0 {
			break
		}
		const name = "Content-Length:"
		if len(line) > len(name) && http.CanonicalHeaderKey(string(line[:len(name)-1])) == name[:len(name)-1] {
			if length, err = strconv.Atoi(string(textproto.TrimBytes(line[len(name):]))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("the answer does not say how long it is")
	}
	return length, nil
}
