// Package query answers the GET routes of the HTTP interface from the projections.
//
//	mux := http.NewServeMux()
//	query.Routes(mux, query.Config{DB: db})
//
// Every route takes the position that a write has answered with, as ?position= or in the
// header Waybill-Position, and then answers only when the view is that far; 504 says
// that it did not get there in time. Errors are application/problem+json.
package query
