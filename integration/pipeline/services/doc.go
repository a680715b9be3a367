// Command services holds three small services like those that a repository pipeline
// coordinates, to be run side by side, one per process:
//
//	services download  -listen HOST:PORT -dir DIR    POST /v1/download_repository
//	services upload    -listen HOST:PORT -dir DIR    POST /v2/repo/upload?repo_path=
//	services transform -listen HOST:PORT             POST /v3/transform-container-to-parquet
//
// The first makes a git repository available at a path, the second puts the files there
// into a container of Azure Blob Storage, the third makes Parquet of a container. Each can
// be called again with the same Idempotency-Key and then does the same thing. All of them
// say what is wrong as {"error": "..."}.
//
//	services rows CONTAINER BLOB
//
// reads a Parquet file back and prints its rows, a line of JSON each. Where the storage is
// says AZURE_STORAGE_CONNECTION_STRING.
package main
