// Package uploader puts the files of a repository into a container of Azure Blob Storage.
package uploader
