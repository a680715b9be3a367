// Package transformer makes Parquet files of containers of Azure Blob Storage.
package transformer
