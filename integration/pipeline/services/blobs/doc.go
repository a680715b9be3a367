// Package blobs reads containers of Azure Blob Storage.
package blobs
