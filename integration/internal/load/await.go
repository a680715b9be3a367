package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// Await waits until every job has ended.
func Await(ctx context.Context, c *api.Client, jobs []*Job) error {
	for _, j := range jobs {
		for {
			var found api.Job
			err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+j.ID, nil, &found)
			if err == nil && found.Ended() {
				break
			}
			if perr := api.Pause(ctx, 20*time.Millisecond); perr != nil {
				return fmt.Errorf("%s is %q: %w", j.ID, found.State, errors.Join(perr, err))
			}
		}
	}
	return nil
}
