// Command pipeline shows the repository pipeline at work: deploy/pipeline, applied as it
// stands to `waybill serve`, against three services, each a process of its own.
//
// The services (a Go module of their own, for they need Azure's SDK and Parquet) clone a
// git repository with git, upload it with the Azure SDK to Azurite, and make Parquet of
// the container. Between them and Waybill stands a gate that notes every request. The
// commands are those a user would type, `waybill apply` and `waybill submit --wait`. Then
// it checks:
//
//   - the job completes with the message of the last service, exit code 0; the requests
//     have the paths and fields of the services, each with what the one before answered;
//   - the Parquet file, read back, has the files of the repository, byte for byte, and
//     nothing else;
//   - a service that is down when it is needed, and then comes up, and one that answers
//     503 for a while, cost attempts and not the job;
//   - each service that stays down, refuses, answers HTML or lacks what the next one
//     needs, and a container that is not there, end the job in ERROR, with exit code 1 and
//     an error that names the step and the reason; what passes by itself is tried again,
//     what does not is not, and what comes after it is never called.
//
// The flag -brokers has it played on any Kafka. It prints the figures, and exits with 0 only if all of this was so.
package main
