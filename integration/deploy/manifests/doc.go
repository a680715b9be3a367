// Package manifests has no code, only a test: that the manifests of deploy/kubernetes are
// what Kubernetes takes, and that what refers to each other in them is there.
package manifests
