// Package web is what the services share towards HTTP: JSON answers, and errors with a
// status.
package web
