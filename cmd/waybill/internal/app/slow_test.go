package app

import (
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes listens where nothing is buffered on the way.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestAClientThatReadsNothingIsLetGoAndOneThatReadsSlowlyIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		server := &http.Server{Handler: newMetrics("").measure(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, 8*pieceBytes))
			ended <- err
		}))}
		ln := make(pipes)
		go func() { _ = server.Serve(ln) }()
		defer func() {
			close(ln)
			_ = server.Close() // of a network in memory
		}()
		dial := func() net.Conn {
			here, there := net.Pipe()
			ln <- there
			if _, err := here.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			return here
		}
		began := time.Now()
		dial()
		if err := <-ended; err == nil || time.Since(began) > 2*pieceTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		slow := dial()
		var reading sync.WaitGroup
		reading.Go(func() {
			for b := make([]byte, pieceBytes); ; {
				if _, err := slow.Read(b); err != nil {
					return
				}
				time.Sleep(time.Second) //nolint:forbidigo // fake time
			}
		})
		began = time.Now()
		if err := <-ended; err != nil {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		_ = slow.Close() // as above
		reading.Wait()
	})
}
