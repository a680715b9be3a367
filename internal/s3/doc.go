// Package s3 is a driver of gocloud.dev/blob for S3 and what speaks like it (MinIO, Ceph),
// as far as reading what others have put there needs it: list, read, delete.
//
//	bucket, err := s3.OpenBucket(s3.Config{Bucket: "landing", Region: "eu-central-1", Credentials: keys})
//	it := bucket.List(&blob.ListOptions{Prefix: "transfers/4711/"})
//
// It is three requests, signed by AWS's own signer, where AWS's client and gocloud's driver on
// top of it would make the program a quarter larger. What it does not do (write, copy,
// signed addresses) it refuses as unimplemented.
package s3
