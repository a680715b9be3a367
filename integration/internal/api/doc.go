// Package api is an outsider's view of the HTTP interface: a client that knows the
// addresses of one server or several, and keeps trying while they are killed and started
// again.
//
//	c := api.New("http://127.0.0.1:7470")
//	err := c.Insist(ctx, http.MethodPost, "/v1/jobs", body, &accepted)
package api
