package query_test

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkStatus asks for one of 1,000 jobs by id over HTTP, with 16 clients: W4. The
// clients take their part of the time.
func BenchmarkStatus(b *testing.B) {
	f := newFixture(b)
	const jobs, clients = 1000, 16
	for i := range jobs {
		f.start("job-" + strconv.Itoa(i))
		f.end("job-" + strconv.Itoa(i))
	}
	f.commit()
	tr := &http.Transport{MaxIdleConnsPerHost: clients}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: time.Minute}
	var next atomic.Int64
	b.SetParallelism(clients / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			res, err := c.Get(f.server.URL + "/v1/jobs/job-" + strconv.FormatInt(next.Add(1)%jobs, 10))
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
				b.Error(res.Status, err)
			}
			res.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
