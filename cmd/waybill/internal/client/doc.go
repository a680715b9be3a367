// Package client speaks the HTTP interface of a server, for the command line and for
// tests.
//
// A Client does one request per call and returns its JSON as it is:
//
//	c, err := client.New("http://127.0.0.1:7470", "")
//	if err != nil {
//		return err
//	}
//	answer, err := c.Get(ctx, "/v1/jobs/j-1", nil)
//
// What the server refuses is a *StatusError with the problem it answered; a server that
// cannot be reached is an *UnreachableError.
package client
